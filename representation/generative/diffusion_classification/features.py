"""`extract`: features of blocks of a U-Net, of pictures with the noise of one step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from representation.generative.denoiser import LINEAR


class Denoiser(Protocol):
    """What features are taken from: `ADMUNet` or `DiffusersAdapter`; a module.

    Attributes:
        num_blocks: blocks, numbered from 1.
        level_starts: numbers of the first residual block of each level on the way down.
        resolution: side of the pictures, pixels.
        picture_channels: of the pictures.
    """

    num_blocks: int
    level_starts: tuple[int, ...]

    @property
    def resolution(self) -> int: ...  # noqa: D102 (see the class)

    @property
    def picture_channels(self) -> int: ...  # noqa: D102 (see the class)

    def walk(self, x: Tensor, t: Tensor, additions: Mapping[int, Tensor] | None = None) -> Iterator[tuple[int, Tensor]]:
        """See `ADMUNet.walk`."""
        ...

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Noise in pictures of steps, and what else is told."""
        ...


def extract(
    unet: Denoiser,
    x: Tensor,
    t: int,
    blocks: Sequence[int],
    noise: Tensor | torch.Generator | None = None,
    n_noise: int = 1,
    additions: Mapping[int, Tensor] | None = None,
) -> dict[int, Tensor]:
    """Features of some blocks, which are means over draws of noise; nothing is computed beyond the last of them.

    Args:
        unet: its steps count from 0 to 999.
        x: pictures (B, C, R, R) in [-1, 1].
        t: step whose noise is added.
        blocks: their numbers.
        noise: draws (n, C, R, R), each of which is added to all pictures; or a generator, which draws anew for every
            picture; or None for draws of seed 0 that are added to all pictures.
        n_noise: draws, where they are not given.
        additions: see `ADMUNet.walk`.

    Returns:
        (B, C_b, h_b, w_b) of each block, 32-bit.

    Raises:
        ValueError: no such blocks or step, pictures of another shape, or that are not finite; draws that do not fit.
    """
    if not blocks or min(blocks) < 1 or max(blocks) > unet.num_blocks:
        raise ValueError(f"blocks: expected some from 1 to {unet.num_blocks}, found {list(blocks)}")
    shape = (unet.picture_channels, unet.resolution, unet.resolution)
    if x.ndim != 4 or tuple(x.shape[1:]) != shape:
        raise ValueError(f"x: expected pictures (B, {', '.join(map(str, shape))}), found {tuple(x.shape)}")
    if not torch.isfinite(x).all():
        raise ValueError("x: expected finite numbers, found others")
    steps = x.new_full((len(x),), LINEAR.check(t), dtype=torch.long)
    wanted, sums = set(blocks), {}
    draws = drawn(noise, n_noise, x)
    for draw in draws:
        for number, h in unet.walk(LINEAR.q_sample(x, steps, draw.expand_as(x)), steps, additions):
            if number in wanted:
                sums[number] = sums[number] + h.float() if number in sums else h.float()
            if number == max(wanted):
                break
    return {number: sums[number] / len(draws) for number in sorted(wanted)}


def drawn(noise: Tensor | torch.Generator | None, n_noise: int, x: Tensor) -> Tensor:
    """Draws (n, 1 or B, C, R, R); arguments and errors as of `extract`."""
    if n_noise < 1:
        raise ValueError(f"n_noise: expected at least 1, found {n_noise}")
    if isinstance(noise, Tensor):
        if noise.ndim != 4 or noise.shape[1:] != x.shape[1:] or not len(noise):
            raise ValueError(f"noise: expected draws (n, {tuple(x.shape[1:])}), found {tuple(noise.shape)}")
        return noise[:, None].to(x)
    count = 1 if noise is None else len(x)
    generator = torch.Generator().manual_seed(0) if noise is None else noise
    shape = (n_noise, count, *x.shape[1:])
    return torch.randn(shape, generator=generator, device=generator.device).to(x)


def pooled(features: Tensor, d: int) -> Tensor:
    """Vectors (B, C d d) of means over d x d parts of maps (B, C, h, w)."""
    return F.adaptive_avg_pool2d(features, d).flatten(1)


@torch.no_grad()
def block_shapes(unet: Denoiser, last: int | None = None) -> dict[int, tuple[int, int]]:
    """Channels and side of the features of each block, up to the last one asked for."""
    weight = next(unet.parameters())  # type: ignore[attr-defined]
    shape = (1, unet.picture_channels, unet.resolution, unet.resolution)
    blank, step = weight.new_zeros(shape), torch.zeros(1, dtype=torch.long, device=weight.device)
    found = {}
    for number, h in unet.walk(blank, step):
        found[number] = (h.shape[1], h.shape[3])
        if number == last:
            break
    return found


def middle_of_the_way_up(unet: Denoiser) -> int:
    """The block that tells most as a rule, where nothing was scanned: at 5/18 of the way up, 24 of 37."""
    middle = unet.num_blocks // 2 + 1
    return middle + max(1, round(5 / 18 * (unet.num_blocks - middle)))


def way_up(unet: Denoiser) -> tuple[int, ...]:
    """The middle and all blocks after it."""
    return tuple(range(unet.num_blocks // 2 + 1, unet.num_blocks + 1))
