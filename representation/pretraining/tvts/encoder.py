"""`TVTSEncoder`: a TVTS as the stack uses it: clips to vectors, sentences to places in time, progress in a script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.data.clips import spread
from representation.interface import Modality, Progress
from representation.pretraining.tvts.config import Config
from representation.pretraining.tvts.model import TVTS
from representation.pretraining.tvts.text import read_texts

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
TEXT_FOLDER = "text"


class TVTSEncoder(nn.Module):
    """An `Encoder` of clips and a `ProgressTracker`.

    Args:
        model: all networks.
    """

    modality: Modality = "clip"

    def __init__(self, model: TVTS) -> None:
        super().__init__()
        self.model, self.width = model, model.config.width

    def encode(self, inputs: Tensor) -> Tensor:
        """Vectors (B, D) of clips (B, T, 3, H, W) in [0, 1]: the class token."""
        return self._tokens(inputs)[:, 0]

    def predict_order(self, clips: Tensor, scripts: Sequence[Sequence[str]]) -> Tensor:
        """When the sentences of scripts happen.

        Args:
            clips: (B, T, 3, H, W) in [0, 1].
            scripts: K sentences for each clip, in any order.

        Returns:
            (B, K, K): row k is log-probabilities of sentence k being the first, second ... thing that happens.
        """
        count, device = self.model.config.steps, self.model.pred_model.type_embed.device
        if len(scripts) != len(clips) or any(len(script) != count for script in scripts):
            raise ValueError(f"scripts: expected {len(clips)} of {count}, found {[len(script) for script in scripts]}")
        tokens = self.model.text_model.tokenize([text for script in scripts for text in script])
        texts = self.model.embed_texts(tokens.to(device).unflatten(0, (len(scripts), count)))
        return self.model.sort(texts, self._tokens(clips)).log_softmax(dim=2)

    @torch.inference_mode()
    def progress(self, clip: Tensor, steps: Sequence[str], least: float = 0.5) -> Progress | None:
        """Progress of an episode in a script.

        Of all K steps of the script that follow each other, those are taken whose places in the clip are surest.

        Args:
            clip: (T, 3, H, W) in [0, 1], of the last K steps.
            steps: the script, K or more sentences.
            least: confidence below which the answer is None; confidence is the product of the K probabilities.

        Raises:
            ValueError: fewer sentences than K.
        """
        count = self.model.config.steps
        if len(steps) < count:
            raise ValueError(f"steps: expected at least {count}, found {len(steps)}")
        windows = [list(steps[first : first + count]) for first in range(len(steps) - count + 1)]
        found = self.predict_order(clip[None].expand(len(windows), -1, -1, -1, -1), windows).cpu().numpy()
        places = [assign(chances) for chances in found]
        sure = [chances[np.arange(count), own].sum() for chances, own in zip(found, places, strict=True)]
        first = int(np.argmax(sure))
        confidence = float(np.exp(sure[first]))
        if confidence < least:
            return None
        happened = [windows[first][k] for k in np.argsort(places[first])]
        last = first + int(places[first].argmax())
        return Progress(
            done=(*steps[:first], *happened[:-1]),
            current=happened[-1],
            next=steps[last + 1] if last + 1 < len(steps) else None,
            in_order=bool((places[first] == np.arange(count)).all()),
            confidence=confidence,
        )

    def save(self, directory: Path) -> None:
        """Write the encoder with its encoder of sentences."""
        save_encoder(self.model, "tvts", self.model.config, directory)
        (directory / TEXT_FOLDER).mkdir(exist_ok=True)
        self.model.text_model.save(directory / TEXT_FOLDER)

    def _tokens(self, clips: Tensor) -> Tensor:
        config = self.model.config
        return self.model.video_model(prepare(spread(clips, config.frames), config.resolution))


def assign(chances: NDArray[np.floating]) -> NDArray[np.int64]:
    """Places (K,) of K sentences, each place once, with the largest sum of log-probabilities (K, K)."""
    return linear_sum_assignment(chances, maximize=True)[1]


def prepare(clips: Tensor, resolution: int) -> Tensor:
    """Normalised clips (B, T, 3, R, R) of clips (B, T, 3, H, W) in [0, 1]: central square, brought to R."""
    height, width = clips.shape[3:]
    if (height, width) != (resolution, resolution):
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        images = clips[..., top : top + side, left : left + side].flatten(0, 1)
        images = F.interpolate(images, (resolution, resolution), mode="bilinear", antialias=True, align_corners=False)
        clips = images.unflatten(0, clips.shape[:2])
    mean, std = (torch.tensor(values, device=clips.device).view(3, 1, 1) for values in (MEAN, STD))
    return (clips - mean) / std


def load(directory: Path) -> TVTSEncoder:
    """Read what `TVTSEncoder.save` wrote.

    Raises:
        ValueError: damaged; names the file.
    """
    try:
        config = Config(**read_config(directory)["config"])
    except TypeError as error:
        raise ValueError(f"{directory}: expected the configuration of a TVTS: {error}") from error
    model = TVTS(config, read_texts(directory / TEXT_FOLDER))
    load_weights(model, directory)
    return TVTSEncoder(model).eval()
