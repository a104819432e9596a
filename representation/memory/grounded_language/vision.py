"""`PictureNet`: a small network that sees, whose last maps can be asked what mattered."""

from __future__ import annotations

from torch import Tensor, nn

FIRST, LATER, PLACES = 32, 64, 4


class PictureNet(nn.Module):
    """Convolutions with max-pools between them, 4 x 4 places, and one linear layer.

    Args:
        channels: of the pictures.
        width: numbers of a vector.
        pools: convolutions after the first, each behind a pool.
    """

    def __init__(self, channels: int, width: int, pools: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, FIRST, 3, padding=1), nn.ReLU()]
        before = FIRST
        for _ in range(pools):
            layers += [nn.MaxPool2d(2), nn.Conv2d(before, LATER, 3, padding=1), nn.ReLU()]
            before = LATER
        self.maps = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(PLACES), nn.Flatten(), nn.Linear(before * PLACES**2, width))

    def forward(self, images: Tensor) -> Tensor:
        """Vectors (B, width) of pictures (B, C, H, W)."""
        return self.head(self.maps(images))
