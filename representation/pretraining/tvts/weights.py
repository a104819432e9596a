"""Published weights: of TVTS itself, and of the masked autoencoder of pictures that its video encoder starts from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from representation.pretraining.tvts.config import RELEASED, Config
from representation.pretraining.tvts.encoder import TVTSEncoder
from representation.pretraining.tvts.model import TVTS
from representation.pretraining.tvts.text import DistilBertTexts
from representation.pretraining.tvts.video import VideoTransformer

_POSITIONS = "text_model.embeddings.position_ids"  # that older files of DistilBERT hold, and nothing learns


def load_released(weights: Path, distilbert: Path, config: Config = RELEASED) -> TVTSEncoder:
    """Read a published checkpoint (`state_dict`).

    Args:
        weights: the file.
        distilbert: folder with the configuration and the vocabulary of its text encoder.
        config: sizes.

    Raises:
        ValueError: a tensor is missing, unknown or of another shape; names it.
    """
    names = {name.removeprefix("module."): value for name, value in _read(weights, "state_dict").items()}
    names.pop(_POSITIONS, None)
    state = {
        name.replace("text_model.", "text_model.model.", 1) if name.startswith("text_model.") else name: value
        for name, value in names.items()
    }
    model = TVTS(config, DistilBertTexts.from_folder(distilbert, pretrained=False))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{weights}: expected the weights of a TVTS, found others: {error}") from error
    return TVTSEncoder(model).eval()


def start_from_pictures(video_model: VideoTransformer, weights: Path) -> None:
    """Start a video encoder from a masked autoencoder of pictures (`model`); each frame of a tube sees its patches.

    Raises:
        ValueError: a tensor of the encoder is missing or of another shape; names it.
    """
    state = _read(weights, "model")
    name = "patch_embed.proj.weight"
    if name in state:
        state[name] = state[name][:, :, None].repeat(1, 1, video_model.tubelet_size, 1, 1)
    own = {key: value for key, value in state.items() if key in video_model.state_dict()}
    try:
        missing = video_model.load_state_dict(own, strict=False).missing_keys
    except RuntimeError as error:
        raise ValueError(f"{weights}: expected an encoder of pictures of these sizes: {error}") from error
    if missing != ["temporal_embed"]:
        raise ValueError(f"{weights}: expected all of the encoder but temporal_embed, found {missing} missing")


def _read(path: Path, key: str) -> dict[str, Tensor]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or not isinstance(content.get(key, content), dict):
        raise ValueError(f"{path}: expected {key} with tensors, found {type(content).__name__}")
    return dict(content.get(key, content))
