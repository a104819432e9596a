"""`RelativeEncoder`: any encoder, told by anchors that it keeps as it was given them: as inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from representation.compatibility.picture_encoder import features_of, load_headed, modality_of, save_headed
from representation.compatibility.relative_representations.projection import relative_projection
from representation.interface import Encoder

SYSTEM = "relative_representations"
ANCHORS_AT_A_TIME = 256


class AnchorInputs(nn.Module):
    """The anchors, as an encoder takes them (k, ...); they are not trained."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()
        self.register_buffer("inputs", inputs.contiguous())


class RelativeEncoder(nn.Module):
    """An `Encoder` of coordinates (B, k), which agree between encoders that have the same anchors in the same order.

    While it is trained, all anchors are encoded anew for every batch, by the weights of that moment and without
    gradients (section 3); in evaluation they are encoded once for the weights that there are.

    Args:
        encoder: an `Encoder`, or any callable of inputs to (B, d).
        anchor_inputs: the anchors (k, ...).
        center: whether the anchors' mean is the origin, see `relative_projection`.
    """

    def __init__(self, encoder: Any, anchor_inputs: Tensor, center: bool = False) -> None:
        super().__init__()
        self.backbone, self.center = encoder, center
        self.modality, self.width = modality_of(encoder), len(anchor_inputs)
        self.head = AnchorInputs(anchor_inputs)
        self._anchors: Tensor | None = None
        self._weights: tuple[int, ...] = ()

    @property
    def anchor_inputs(self) -> Tensor:
        """The anchors (k, ...)."""
        return self.head.inputs

    def refresh(self) -> Tensor:
        """Encode the anchors with the weights of now, in evaluation mode; (k, d)."""
        is_training = self.training
        self.eval()
        # Not in inference mode: what is kept must also serve where gradients are taken.
        with torch.inference_mode(False), torch.no_grad():
            parts = [features_of(self.backbone, part.clone()) for part in self.anchor_inputs.split(ANCHORS_AT_A_TIME)]
        self._anchors, self._weights = torch.cat(parts), self._versions()
        self.train(is_training)
        return self._anchors

    def anchors(self) -> Tensor:
        """Vectors (k, d) of the anchors: anew in training or after the weights have changed, else as kept."""
        if self.training or self._anchors is None or self._weights != self._versions():
            return self.refresh()
        return self._anchors

    def forward(self, x: Tensor) -> Tensor:
        """Coordinates (B, k) of inputs."""
        return self.project(features_of(self.backbone, x))

    def encode(self, inputs: Tensor) -> Tensor:
        """Coordinates (B, k) of inputs."""
        return self(inputs)

    def project(self, latents: Tensor) -> Tensor:
        """Coordinates (B, k) of vectors (B, d) that the encoder has made before: of a memory, without its pictures."""
        return relative_projection(latents, self.anchors(), center=self.center)

    def save(self, directory: Path) -> None:
        """Write the anchors and, in `backbone/`, the encoder."""
        config = {"anchors": list(self.anchor_inputs.shape), "center": self.center}
        save_headed(self.backbone, self.head, SYSTEM, config, directory)

    def _versions(self) -> tuple[int, ...]:
        """Changes with any change of the weights in place, and where they are put elsewhere."""
        tensors = [*self.parameters(), *self.buffers()]
        return tuple(number for tensor in tensors for number in (tensor._version, tensor.data_ptr()))


def _build(backbone: Encoder, config: Mapping[str, Any]) -> RelativeEncoder:
    return RelativeEncoder(backbone, torch.empty(config["anchors"]), config["center"])


def load(directory: Path) -> Any:
    """Read an encoder of this system; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    return load_headed(directory, SYSTEM, _build)
