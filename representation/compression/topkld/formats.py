"""Number formats of quantised weights and activations: integers with a scale, and small floating-point numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

PACKED_BITS = (2, 3, 4, 8)
_NAME = re.compile(r"(?:int([2348])(z?)|e([1-5])m([0-3]))(?:g(\d{1,6})|(t))?")


@dataclass(frozen=True, slots=True)
class IntFormat:
    """Integers of some bits, times a scale.

    Attributes:
        bits: of a number, 2, 3, 4 or 8.
        per_channel: a scale for each row of a matrix; otherwise one for all.
        group: numbers of a row that share a scale; None for the whole row. The last group may be shorter.
        symmetric: zero is the integer 0 and lies in the middle; otherwise each scale has a zero point.

    Raises:
        ValueError: other bits, or a group of none.
    """

    bits: int
    per_channel: bool = True
    group: int | None = None
    symmetric: bool = True

    def __post_init__(self) -> None:
        if self.bits not in PACKED_BITS:
            raise ValueError(f"bits: expected one of {PACKED_BITS}, found {self.bits}")
        _check_group(self.group, self.per_channel)

    @property
    def lowest(self) -> int:
        """Smallest integer."""
        return -(2 ** (self.bits - 1)) if self.symmetric else 0

    @property
    def highest(self) -> int:
        """Largest integer."""
        return 2 ** (self.bits - 1) - 1 if self.symmetric else 2**self.bits - 1

    @property
    def name(self) -> str:
        """As `format_named` reads it."""
        return f"int{self.bits}{'' if self.symmetric else 'z'}{_scales_name(self)}"


@dataclass(frozen=True, slots=True)
class FloatFormat:
    """Floating-point numbers of a sign, some bits of exponent and some of mantissa, times a scale.

    All codes are finite numbers, but for those that E4M3 and E5M2 of the OCP specification keep for others.

    Attributes:
        e: bits of the exponent.
        m: bits of the mantissa.
        per_channel: a scale for each row of a matrix; otherwise one for all.
        group: numbers of a row that share a scale; None for the whole row.

    Raises:
        ValueError: sizes that do not make 4 or 8 bits, or a group of none.
    """

    e: int
    m: int
    per_channel: bool = True
    group: int | None = None

    def __post_init__(self) -> None:
        if self.e < 1 or self.m < 0 or self.bits not in (4, 8):
            raise ValueError(f"e, m: expected 1 + e + m to be 4 or 8, found {self.e} and {self.m}")
        _check_group(self.group, self.per_channel)

    @property
    def bits(self) -> int:
        """Of a number."""
        return 1 + self.e + self.m

    @property
    def name(self) -> str:
        """As `format_named` reads it."""
        return f"e{self.e}m{self.m}{_scales_name(self)}"

    def magnitudes(self) -> Tensor:
        """The numbers (n,) that are not negative, in ascending order; a number's place is its code without the sign."""
        return _magnitudes(self.e, self.m)


Format = IntFormat | FloatFormat


def format_named(name: str) -> Format:
    """The format of a name such as int4, int4g32 (groups of 32), int4t (one scale), int4z (zero points) or e2m1.

    Raises:
        ValueError: no such name.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"format: expected a name such as int8, int4, int3g32, int2z, e2m1 or e4m3, found {name!r}")
    bits, zero, e, m, group, one = match.groups()
    per_channel, size = one is None, None if group is None else int(group)
    if bits is None:
        return FloatFormat(int(e), int(m), per_channel, size)
    return IntFormat(int(bits), per_channel, size, not zero)


def _check_group(group: int | None, per_channel: bool) -> None:
    if group is not None and (group < 1 or not per_channel):
        raise ValueError(f"group: expected at least 1, and scales per channel, found {group} and {per_channel}")


def _scales_name(format: Format) -> str:
    if not format.per_channel:
        return "t"
    return "" if format.group is None else f"g{format.group}"


@cache
def _magnitudes(e: int, m: int) -> Tensor:
    codes = torch.arange(2 ** (e + m))
    if (e, m) == (4, 3):
        codes = codes[:-1]  # the last one is no number
    elif (e, m) == (5, 2):
        codes = codes[: -(2**m)]  # the last exponent is infinity
    exponent, mantissa = codes >> m, (codes & (2**m - 1)) / 2**m
    bias = 2 ** (e - 1) - 1
    subnormal = mantissa * 2.0 ** (1 - bias)
    return torch.where(exponent == 0, subnormal, (1 + mantissa) * torch.pow(2.0, (exponent - bias).float()))
