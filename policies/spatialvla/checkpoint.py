"""Weights on disk: safetensors under the key names of the released checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from policies.spatialvla.model import SpatialVLAModel

WEIGHTS_FILE = "model.safetensors"
Rule = tuple[str, str | Callable[[re.Match[str]], str]]
# Our modules -> the released names, as pattern and replacement: the library has renamed parts of SigLIP and BEiT since.
_RENAMED: tuple[Rule, ...] = (
    (r"^vision_tower\.", "vision_tower.vision_model."),
    (r"^vision_zoe_model\.backbone\.beit\.embeddings\.", "vision_zoe_model.backbone.embeddings."),
    (r"^vision_zoe_model\.backbone\.beit\.layers\.(\d+)\.", r"vision_zoe_model.backbone.encoder.layer.\1."),
)
_PROJECTIONS = {"q": "query", "k": "key", "v": "value"}
_RENAMED_IN_BEIT: tuple[Rule, ...] = (
    (r"\.attention\.([qkv])_proj\.", lambda match: f".attention.attention.{_PROJECTIONS[match[1]]}."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.relative_position_bias\.relative", ".attention.attention.relative_position_bias.relative"),
)


def released_name(name: str) -> str:
    """Key on disk of a parameter of `SpatialVLAModel`."""
    rules = _RENAMED + (_RENAMED_IN_BEIT if name.startswith("vision_zoe_model.backbone.beit.layers.") else ())
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def save_weights(model: SpatialVLAModel, directory: Path) -> None:
    """Write `model.safetensors`; the text table's action rows are brought in step with the spatial table first."""
    model.synchronize_action_embeddings()
    tensors = {released_name(name): tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, directory / WEIGHTS_FILE, metadata={"format": "pt"})


def load_weights(model: SpatialVLAModel, directory: Path) -> None:
    """Fill a model from `model.safetensors`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: unreadable file, missing or extra keys, other shapes, or values that are not finite; names the
            file and the key.
    """
    path = directory / WEIGHTS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected the policy's weights, found no such file")
    expected = {released_name(name): tensor for name, tensor in model.state_dict().items()}
    try:
        with safe_open(path, framework="pt") as file:
            found = set(file.keys())
            missing, extra = sorted(set(expected) - found), sorted(found - set(expected))
            if missing or extra:
                raise ValueError(f"{path}: keys do not fit config.json: missing {missing[:5]}, extra {extra[:5]}")
            for name, target in expected.items():
                _copy_checked(path, name, file.get_tensor(name), target)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file: {error}") from error


@torch.no_grad()
def _copy_checked(path: Path, name: str, value: Tensor, target: Tensor) -> None:
    if value.shape != target.shape:
        raise ValueError(f"{path}: {name}: expected shape {tuple(target.shape)}, found {tuple(value.shape)}")
    if not value.is_floating_point() or not bool(torch.isfinite(value).all()):
        raise ValueError(f"{path}: {name}: expected finite floating-point values, found {value.dtype} with others")
    target.copy_(value)
