"""`relative_projection`: vectors told by how they lie to anchors; `RelativeLayer`: the same as part of a network."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Mode = Literal["cosine", "inner", "basis_change"]


def relative_projection(x: Tensor, anchors: Tensor, mode: Mode = "cosine", center: bool = False) -> Tensor:
    """Coordinates (B, k) of vectors with regard to anchors (section 3).

    Args:
        x: vectors (B, d).
        anchors: vectors (k, d) by the same encoder.
        mode: "cosine" is the paper's; it does not see rotations, reflections and scales of the space. "inner" divides
            inner products by the root of d. "basis_change" gives the w with `x = w @ anchors`, the nearest in least
            squares, for at most d independent anchors; it sees no invertible linear map.
        center: whether the anchors' mean becomes the origin first; then translations are not seen either.

    Raises:
        ValueError: widths that differ, or more anchors than a basis has vectors.
    """
    if x.ndim != 2 or anchors.ndim != 2 or x.shape[1] != anchors.shape[1]:
        raise ValueError(f"anchors: expected (k, d) for vectors {tuple(x.shape)}, found {tuple(anchors.shape)}")
    if center:
        origin = anchors.mean(dim=0)
        x, anchors = x - origin, anchors - origin
    if mode == "cosine":
        return F.normalize(x, dim=1) @ F.normalize(anchors, dim=1).T
    if mode == "inner":
        return x @ anchors.T / x.shape[1] ** 0.5
    if mode != "basis_change":
        raise ValueError(f"mode: expected cosine, inner or basis_change, found {mode!r}")
    if len(anchors) > x.shape[1]:
        raise ValueError(f"anchors: expected at most {x.shape[1]} for a basis, found {len(anchors)}")
    return torch.linalg.lstsq(anchors.T, x.T).solution.T


class RelativeLayer(nn.Module):
    """Cosines to anchors, quantised and normalised as asked.

    Args:
        num_anchors: k.
        output_norm: "layernorm" with trained scales (the paper's), "l2", or "none".
        bin_size: width of the bins that cosines are rounded to; not rounded if None. Gradients pass as if it were not.
    """

    def __init__(
        self,
        num_anchors: int,
        output_norm: Literal["layernorm", "l2", "none"] = "layernorm",
        bin_size: float | None = None,
    ) -> None:
        super().__init__()
        if output_norm not in ("layernorm", "l2", "none"):
            raise ValueError(f"output_norm: expected layernorm, l2 or none, found {output_norm!r}")
        self.num_anchors, self.bin_size, self._is_unit = num_anchors, bin_size, output_norm == "l2"
        self.norm = nn.LayerNorm(num_anchors) if output_norm == "layernorm" else nn.Identity()

    def forward(self, x: Tensor, anchors: Tensor) -> Tensor:
        """Coordinates (B, k) of vectors (B, d) for anchors (k, d)."""
        if len(anchors) != self.num_anchors:
            raise ValueError(f"anchors: expected {self.num_anchors}, found {len(anchors)}")
        return self.normalized(relative_projection(x, anchors))

    def normalized(self, r: Tensor) -> Tensor:
        """Cosines (B, k), quantised and normalised."""
        if self.bin_size is not None:
            r = r + ((r / self.bin_size).round() * self.bin_size - r).detach()
        return F.normalize(r, dim=1) if self._is_unit else self.norm(r)
