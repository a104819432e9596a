"""Changes of the pictures in training: a crop that depth and calibration follow, then the colours.

Source: the training of SpatialVLA (arXiv 2501.15830): a random crop of 0.9 of the area, brightness, contrast,
saturation and hue, in this order. Ours: the camera matrix follows the crop, so that a pixel's point stays where it is;
the released training kept the matrix.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

CROP_AREA = 0.9
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.2, 0.2, 0.2, 0.05


def augment(inputs: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Crop and recolour each picture of a batch at random.

    Args:
        inputs: as `SpatialVLAProcessor.collate` gives them.
        generator: a CPU generator of all draws.

    Returns:
        The same with other `pixel_values` and, where they are there, `depth` and `intrinsics`.
    """
    side = math.sqrt(CROP_AREA)
    cropped = crop(inputs, (1 - side) * torch.rand(len(inputs["pixel_values"]), 2, generator=generator), side)

    def draw(spread: float) -> Tensor:
        uniform = torch.rand(len(cropped["pixel_values"]), 1, 1, 1, generator=generator)
        return ((2 * uniform - 1) * spread).to(cropped["pixel_values"])

    brightness, contrast, saturation, turn = draw(BRIGHTNESS), draw(CONTRAST), draw(SATURATION), draw(HUE)
    pixels = (cropped["pixel_values"] + brightness).clamp(0, 1)
    mean = pixels.mean(dim=(2, 3), keepdim=True)
    pixels = ((pixels - mean) * (1 + contrast) + mean).clamp(0, 1)
    return cropped | {"pixel_values": change_hsv(pixels, 1 + saturation, turn)}


def crop(inputs: Mapping[str, Tensor], corner: Tensor, side: float) -> dict[str, Tensor]:
    """Cut a square out of each picture, and bring it to the size that the picture had.

    Args:
        inputs: `pixel_values` (B, 3, S, S) and, with Ego3D, `intrinsics` (B, 3, 3) in pixels and perhaps `depth`
            (B, S, S); others stay.
        corner: (B, 2) left and upper side of the squares, as shares of the picture's, 0 to 1 - `side`.
        side: of the squares, as a share of the picture's.

    Returns:
        The same with colours between pixels (bilinear), the depths of the nearest pixels, which are unknown where these
        were, and the matrices of a camera that sees just this.
    """
    result, pixels = dict(inputs), inputs["pixel_values"]
    size = pixels.shape[-1]
    theta = torch.zeros(len(pixels), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = side
    theta[:, :, 2] = 2 * corner + side - 1
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False).to(pixels)
    result["pixel_values"] = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if "depth" in inputs:
        depth = inputs["depth"].unsqueeze(1)
        result["depth"] = F.grid_sample(depth, grid.to(depth), mode="nearest", align_corners=False).squeeze(1)
    if "intrinsics" in inputs:
        seen = torch.eye(3).repeat(len(pixels), 1, 1) / side
        seen[:, :2, 2], seen[:, 2, 2] = -size * corner / side, 1.0
        result["intrinsics"] = seen.to(inputs["intrinsics"]) @ inputs["intrinsics"]
    return result


def change_hsv(pixels: Tensor, saturation: Tensor, turn: Tensor) -> Tensor:
    """Multiply the saturation of pictures, and turn their hue; the largest channel of a pixel keeps its value.

    Args:
        pixels: (B, 3, H, W) RGB in [0, 1].
        saturation: (B, 1, 1, 1) factors; the product ends at 1.
        turn: (B, 1, 1, 1) shares of the circle from red over green and blue.
    """
    red, green, blue = pixels.split(1, dim=1)
    value, least = pixels.amax(dim=1, keepdim=True), pixels.amin(dim=1, keepdim=True)
    chroma = (value - least).clamp_min(1e-9)
    sixth = torch.where(
        red == value,
        (green - blue) / chroma,
        torch.where(green == value, 2 + (blue - red) / chroma, 4 + (red - green) / chroma),
    )
    saturated = ((value - least) / value.clamp_min(1e-9) * saturation).clamp(0, 1)
    # A channel falls from the largest to the least value over a sixth of the circle; where depends on the channel.
    offsets = torch.tensor([5.0, 3.0, 1.0]).to(pixels).view(1, 3, 1, 1)
    place = (sixth + 6 * turn + offsets) % 6
    return value * (1 - saturated * torch.minimum(place, 4 - place).clamp(0, 1))
