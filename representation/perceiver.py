"""`Perceiver`: an encoder behind a camera: one sight after the other becomes a vector, scores of phrases, progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from representation.data.back_projection import depth_to_points, random_points
from representation.interface import Encoder, Progress, ProgressTracker, TextImageScorer, ThingFinder
from representation.live_clip import LiveClip

MODALITIES = ("image", "points", "clip")


@dataclass(frozen=True)
class Sight:
    """What a camera saw at one instant.

    Attributes:
        stamp: seconds.
        rgb: (H, W, 3) uint8.
        depth: (H, W) metres along the optical axis, NaN where unknown; None if it was not asked for.
        intrinsics: (3, 3) in pixels, of the depth; likewise.
    """

    stamp: float
    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32] | None = None
    intrinsics: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Percept:
    """What is understood of a sight.

    Attributes:
        stamp: of the sight, seconds.
        vector: (D,) float32.
        scores: (P,) probabilities of the phrases, which sum to 1; None without phrases.
        progress: of the episode in the script; None without a script, or where it is not clear.
        found: (K, F) of the places of kinds of things, see `ThingFinder`; None if it was not asked for.
    """

    stamp: float
    vector: NDArray[np.float32]
    scores: NDArray[np.float32] | None = None
    progress: Progress | None = None
    found: NDArray[np.float32] | None = None


class Perceiver:
    """Understands sights, one after the other.

    Args:
        encoder: of pictures, clips or points, in evaluation mode.
        phrases: that pictures are scored against.
        script: sentences of the steps of the task, in their order.
        points: of a cloud, drawn from the depth picture.
        find: whether the places of things are asked for.

    Raises:
        ValueError: the encoder cannot do what is asked of it.
    """

    def __init__(
        self,
        encoder: Encoder,
        phrases: Sequence[str] = (),
        script: Sequence[str] = (),
        points: int = 1024,
        find: bool = False,
    ) -> None:
        if encoder.modality not in MODALITIES:
            raise ValueError(f"encoder: expected one of {', '.join(MODALITIES)}, found one of {encoder.modality}")
        for asked, protocol, what in (
            (phrases, TextImageScorer, "phrases"),
            (script, ProgressTracker, "script"),
            (find, ThingFinder, "things"),
        ):
            if asked and not isinstance(encoder, protocol):
                raise ValueError(
                    f"{what}: expected none with {type(encoder).__name__}, which is no {protocol.__name__}"
                )
        self.encoder, self.phrases, self.script = encoder, tuple(phrases), tuple(script)
        self._points, self._find = points, find
        self._clip = LiveClip()
        self._rng = np.random.default_rng(0)
        first = next(iter(encoder.parameters()), None) if isinstance(encoder, nn.Module) else None
        self._device = torch.device("cpu") if first is None else first.device

    @property
    def needs_depth(self) -> bool:
        """Whether sights must have depth and intrinsics."""
        return self._find or self.encoder.modality == "points"

    def restart(self) -> None:
        """An episode begins."""
        self._clip.restart()

    @torch.inference_mode()
    def look(self, sight: Sight) -> Percept:
        """Understand a sight.

        Raises:
            ValueError: it lacks depth that is needed, or next to nothing is known of its depth.
        """
        inputs = self._inputs(sight).to(self._device)
        vector = self.encoder.encode(inputs[None])[0].float().cpu().numpy()
        scores = progress = found = None
        if self.phrases and isinstance(self.encoder, TextImageScorer):
            scores = self.encoder.scores(inputs[None], self.phrases)[0].float().cpu().numpy()
        if self.script and isinstance(self.encoder, ProgressTracker):
            progress = self.encoder.progress(inputs, self.script)
        if self._find and isinstance(self.encoder, ThingFinder):
            found = self.encoder.find(inputs[None])[0].float().cpu().numpy()
        return Percept(sight.stamp, vector, scores, progress, found)

    def _inputs(self, sight: Sight) -> Tensor:
        """What the encoder takes, without the batch."""
        if self.encoder.modality == "clip":
            self._clip.add(sight.rgb)
            return self._clip.clip()
        if self.encoder.modality == "image":
            return torch.from_numpy(sight.rgb).permute(2, 0, 1).float() / 255
        if sight.depth is None or sight.intrinsics is None:
            raise ValueError("sight: expected depth and intrinsics, found none")
        points = depth_to_points(sight.depth, sight.intrinsics)
        return torch.from_numpy(random_points(points, self._points, self._rng))
