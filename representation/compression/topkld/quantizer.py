"""Quantised matrices: codes of a few bits packed into bytes, and scales; and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from representation.compression.topkld.formats import Format, IntFormat

SCALE_BITS = 32
_TOGETHER = 8  # codes that are packed into as many bytes as a code has bits
_WORD_BITS = {2: 8, 3: 12, 4: 8, 8: 8}  # by bits of a code
_AS_ONE = {1: torch.float32, 2: torch.float64, 4: torch.complex128}  # so many float32 as one element, to be copied only


@dataclass(frozen=True, slots=True)
class QTensor:
    """A quantised matrix.

    Attributes:
        codes: (n,) uint8, packed.
        scale: (rows, groups) float32; one row of one group where a matrix has one scale.
        zero: (rows, groups) uint8, the code of zero; None where it is in the middle.
        shape: (rows, columns).
        format: of the codes.
    """

    codes: Tensor
    scale: Tensor
    zero: Tensor | None
    shape: tuple[int, int]
    format: Format

    @property
    def bits(self) -> int:
        """Of codes, scales and zero points."""
        zero = 0 if self.zero is None else self.format.bits * self.zero.numel()
        return self.format.bits * self.shape[0] * self.shape[1] + SCALE_BITS * self.scale.numel() + zero


def quantize(w: Tensor, format: Format) -> QTensor:
    """Round a matrix to the nearest numbers of a format, with scales by which the largest number just fits.

    Args:
        w: (rows, columns), finite.
        format: of the numbers.

    Raises:
        ValueError: no matrix, or values that are not finite.
    """
    scale, zero = scales(w, format)
    return with_scales(w, scale, zero, format)


def dequantize(q: QTensor) -> Tensor:
    """The matrix (rows, columns), float32.

    Integers of a byte are converted; other codes are read several at once, as words whose numbers lie in a table.

    Raises:
        ValueError: another number of bytes than the codes take.
    """
    count, bits = q.shape[0] * q.shape[1], q.format.bits
    _check_size(q.codes, count, bits)
    if isinstance(q.format, IntFormat) and bits == 8:
        values = q.codes.float().add_(q.format.lowest)
    else:
        table = _numbers_of_words(q.format, q.codes.device)
        values = table.index_select(0, _words(q.codes, bits)).view(torch.float32)
    values = values[:count].view(q.shape)
    if q.zero is not None:
        values.sub_(spread(q.zero.float(), q.shape, q.format))
    return values.mul_(spread(q.scale, q.shape, q.format))


def with_scales(w: Tensor, scale: Tensor, zero: Tensor | None, format: Format) -> QTensor:
    """Round a matrix with scales that are given."""
    codes = encoded(w, scale, zero, format)
    return QTensor(pack(codes.flatten(), format.bits), scale, zero, tuple(w.shape), format)


def scales(w: Tensor, format: Format) -> tuple[Tensor, Tensor | None]:
    """Scales (rows, groups) of a matrix and, where the format has them, zero points.

    Raises:
        ValueError: no matrix, or values that are not finite.
    """
    if w.ndim != 2 or not bool(torch.isfinite(w).all()):
        raise ValueError(f"weights: expected a finite matrix, found shape {tuple(w.shape)} or values that are not")
    groups = _grouped(w.detach().float(), format)
    if isinstance(format, IntFormat) and not format.symmetric:
        low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
        scale = _not_zero((high - low) / format.highest)
        return scale, (-low / scale).round().clamp(0, format.highest).to(torch.uint8)
    largest = format.highest if isinstance(format, IntFormat) else float(format.magnitudes()[-1])
    return _not_zero(groups.abs().amax(-1) / largest), None


def encoded(w: Tensor, scale: Tensor, zero: Tensor | None, format: Format) -> Tensor:
    """Codes (rows, columns), uint8, of the numbers of a format that are nearest to a matrix."""
    scaled = w.detach().float() / spread(scale, w.shape, format)
    if isinstance(format, IntFormat):
        offset = -format.lowest if zero is None else spread(zero.float(), w.shape, format)
        return (scaled.round() + offset).clamp(0, 2**format.bits - 1).to(torch.uint8)
    magnitudes = format.magnitudes().to(w.device)
    # Between two numbers the nearer one; in the middle the smaller.
    places = torch.bucketize(scaled.abs(), (magnitudes[1:] + magnitudes[:-1]) / 2)
    return (places + (scaled < 0) * 2 ** (format.bits - 1)).to(torch.uint8)


def decoded(codes: Tensor, scale: Tensor, zero: Tensor | None, format: Format) -> Tensor:
    """The matrix (rows, columns), float32, of codes."""
    values = _numbers(format, codes.device)[codes.long()]
    if zero is not None:
        values = values - spread(zero.float(), codes.shape, format)
    return values * spread(scale, codes.shape, format)


def spread(values: Tensor, shape: tuple[int, ...] | torch.Size, format: Format) -> Tensor:
    """Values (rows, groups) at every number of a matrix, as something that broadcasts to its shape."""
    if format.group is None:
        return values
    return values.repeat_interleave(format.group, dim=1)[:, : shape[1]]


def pack(codes: Tensor, bits: int) -> Tensor:
    """Put codes (n,), uint8 below 2^bits, into bytes; the last ones are filled up with zeros."""
    codes = F.pad(codes, (0, -len(codes) % _TOGETHER)).view(-1, _TOGETHER)
    if bits == _TOGETHER:
        return codes.flatten()
    places = bits * torch.arange(_TOGETHER, device=codes.device)
    together = (codes.long() << places).sum(-1, keepdim=True)
    return ((together >> (8 * torch.arange(bits, device=codes.device))) & 255).to(torch.uint8).flatten()


def unpack(packed: Tensor, count: int, bits: int) -> Tensor:
    """The first `count` codes, uint8, of bytes.

    Raises:
        ValueError: another number of bytes than so many codes take.
    """
    _check_size(packed, count, bits)
    places = torch.arange(0, _WORD_BITS[bits], bits, device=packed.device)
    codes = (_words(packed, bits)[:, None] >> places) & (2**bits - 1)
    return codes.to(torch.uint8).flatten()[:count]


def _check_size(packed: Tensor, count: int, bits: int) -> None:
    expected = -(-count // _TOGETHER) * bits
    if packed.dtype != torch.uint8 or packed.shape != (expected,):
        raise ValueError(f"codes: expected {expected} bytes, found {packed.dtype} of shape {tuple(packed.shape)}")


def _words(packed: Tensor, bits: int) -> Tensor:
    """Numbers (n,) int32 of as many bits as `_WORD_BITS` says, which no code lies across."""
    words = packed.int()
    if _WORD_BITS[bits] == 8:
        return words
    first, middle, last = words.view(-1, 3).unbind(1)
    return torch.stack([first | ((middle & 15) << 8), (middle >> 4) | (last << 4)], dim=1).flatten()


@cache
def _numbers(format: Format, device: torch.device) -> Tensor:
    """What each code stands for (2^bits,) float32, before its scale and zero point."""
    codes = torch.arange(2**format.bits, device=device)
    if isinstance(format, IntFormat):
        return codes.float() + format.lowest
    magnitudes, half = format.magnitudes().to(device), 2 ** (format.bits - 1)
    return torch.where(codes >= half, -1.0, 1.0) * magnitudes[(codes % half).clamp(max=len(magnitudes) - 1)]


@cache
def _numbers_of_words(format: Format, device: torch.device) -> Tensor:
    """What the codes of each word stand for (words,), the float32 of each as one element, see `_AS_ONE`."""
    size = _WORD_BITS[format.bits]
    places, words = torch.arange(0, size, format.bits, device=device), torch.arange(2**size, device=device)
    table = _numbers(format, device)[(words[:, None] >> places) & (2**format.bits - 1)]
    return table.view(_AS_ONE[table.shape[1]]).flatten()


def _grouped(w: Tensor, format: Format) -> Tensor:
    """The numbers (rows, groups, n) that share a scale; zeros, which change no scale, fill up the last group."""
    if not format.per_channel:
        return w.reshape(1, 1, -1)
    if format.group is None:
        return w[:, None]
    return F.pad(w, (0, -w.shape[1] % format.group)).unflatten(1, (-1, format.group))


def _not_zero(scale: Tensor) -> Tensor:
    return torch.where(scale > 0, scale, torch.ones_like(scale))
