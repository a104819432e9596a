"""What makes decoded pictures sharp: a discriminator of patches, and a distance of features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812

from representation.interface import DenseEncoder

DRAWS = 5  # random numbers of a picture: brightness, saturation, contrast, and two of the shift
LARGEST_SHIFT = 0.125
SLOPE, LARGEST_WEIGHT = 0.2, 1.0


class PatchDiscriminator(nn.Module):
    """Convolutions that judge each patch of a picture; the paper has 64 channels and 3 layers.

    Args:
        channels: of the first layer.
        layers: that halve the side.
    """

    def __init__(self, channels: int = 64, layers: int = 3) -> None:
        super().__init__()
        found: list[nn.Module] = [nn.Conv2d(3, channels, 4, 2, 1), nn.LeakyReLU(SLOPE)]
        before = channels
        for number in range(1, layers + 1):
            width = channels * min(2**number, 8)
            stride = 2 if number < layers else 1
            found += [nn.Conv2d(before, width, 4, stride, 1, bias=False), nn.BatchNorm2d(width), nn.LeakyReLU(SLOPE)]
            before = width
        self.layers = nn.Sequential(*found, nn.Conv2d(before, 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Verdicts (B, 1, h, w) on pictures (B, 3, H, W) in [0, 1], high for real ones."""
        return self.layers(2 * x - 1)

    def frozen(self, x: Tensor) -> Tensor:
        """Verdicts whose gradients reach the pictures alone."""
        return functional_call(self, {name: value.detach() for name, value in self.named_parameters()}, (x,))


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """What a discriminator minimises: verdicts on real pictures above 1, on others below -1."""
    return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last_weight: Tensor) -> Tensor:
    """Weight of a judgement by which it moves the last layer as far as the reconstruction does; at most 1."""
    first, second = (
        torch.autograd.grad(loss, last_weight, retain_graph=True)[0].norm() for loss in (reconstruction, adversarial)
    )
    return (first / (second + 1e-4)).clamp(0, LARGEST_WEIGHT).detach()


def augmented(x: Tensor, draws: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) with other colours and shifted, differentiably (DiffAugment).

    Args:
        x: pictures.
        draws: (B, 5) in [0, 1).
    """
    brightness, saturation, contrast = draws[:, :3, None, None, None].unbind(1)
    x = x + brightness - 0.5
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * 2 * saturation
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = mean + (x - mean) * (contrast + 0.5)
    side = x.shape[-1]
    most = round(side * LARGEST_SHIFT)
    moved = ((2 * most + 1) * draws[:, 3:]).long() - most
    around = F.pad(x, (most, most, most, most))
    rows, columns = (moved[:, axis, None] + most + torch.arange(side, device=x.device) for axis in range(2))
    index = torch.arange(len(x), device=x.device)[:, None, None]
    return around.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def feature_distance(encoder: DenseEncoder, x: Tensor, y: Tensor) -> Tensor:
    """Mean squared distance of the unit features of places of pictures (B, 3, H, W), by a frozen encoder of them."""
    ours, theirs = (F.normalize(encoder.dense(images)[0], dim=1) for images in (x, y))
    return (ours - theirs).square().sum(dim=1).mean()
