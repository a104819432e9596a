"""`Config`: sizes of an I2P-MAE and how it is pretrained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Config:
    """An encoder that trains on two cores in minutes; `RELEASED` has the published sizes.

    Attributes:
        points: that a cloud is thinned out to.
        groups: tokens of the three levels.
        neighbours: of the level below (points, for the first level) that a token is made of.
        widths: of the tokens.
        blocks: transformer blocks of each level.
        heads: of all attention.
        radii: how far a token looks at each level, in radii of the cloud; 0 everywhere.
        drop_path: share of the residual branches that the last block leaves out in training; the first one none.
        mask_ratio: share of the tokens of the last level that is hidden.
        teacher: directory of a `DenseEncoder` of pictures; empty for none.
        view_size: side of the pictures that it gets, pixels.
        reduction: of the depths that meet in one pixel. The paper adds them up.
        temperature: of the choice of visible tokens by saliency, whose mean is 1; the lower, the more it is followed.
    """

    points: int = 512
    groups: Triple = (128, 64, 32)
    neighbours: Triple = (16, 8, 8)
    widths: Triple = (48, 96, 192)
    blocks: Triple = (1, 1, 1)
    heads: int = 6
    radii: tuple[float, float, float] = (0.0, 0.0, 0.0)
    drop_path: float = 0.0
    mask_ratio: float = 0.8
    teacher: str = ""
    view_size: int = 64
    reduction: Literal["sum", "max", "mean"] = "sum"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.points >= self.groups[0] >= self.groups[1] >= self.groups[2]:
            raise ValueError(f"groups: expected fewer at each level than {self.points} points, found {self.groups}")
        below = (self.points, *self.groups)
        if any(k > number for k, number in zip(self.neighbours, below, strict=False)):
            raise ValueError(f"neighbours: expected at most {below[:3]}, found {self.neighbours}")
        if not 0 < int(self.mask_ratio * self.groups[2]) < self.groups[2]:
            raise ValueError(
                f"mask_ratio: expected hidden and visible ones of {self.groups[2]}, found {self.mask_ratio}"
            )


RELEASED = Config(
    points=2048,
    groups=(512, 256, 64),
    widths=(96, 192, 384),
    blocks=(5, 5, 5),
    drop_path=0.1,
    view_size=224,
)
