"""What fine-tuning changed in a network, as a vector that can be added and scaled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TaskVector:
    """What fine-tuning changed.

    Attributes:
        deltas: float32 tensors by name.
    """

    deltas: Mapping[str, Tensor]

    @classmethod
    def from_state_dicts(
        cls, base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], keys: Sequence[str] | None = None
    ) -> TaskVector:
        """Tuned minus base, by name.

        Args:
            base: state dict of the network that was fine-tuned.
            tuned: of what came of it.
            keys: names that count; None for all tensors of floating point.

        Raises:
            ValueError: a name is missing in one of them, shapes differ, or a value is not finite; names the tensor.
        """
        floating = [name for name, value in base.items() if value.is_floating_point()]
        wanted = floating if keys is None else list(keys)
        missing = [name for name in wanted if name not in base or name not in tuned]
        extra = [name for name in tuned if name not in base] if keys is None else []
        if missing or extra:
            raise ValueError(f"state dicts: expected the same names, found {missing[:5]} missing, {extra[:5]} too many")
        deltas = {}
        for name in wanted:
            if base[name].shape != tuned[name].shape:
                raise ValueError(
                    f"{name}: expected shape {tuple(base[name].shape)} as in the base, found {tuple(tuned[name].shape)}"
                )
            deltas[name] = tuned[name].detach().cpu().float() - base[name].detach().cpu().float()
            if not torch.isfinite(deltas[name]).all():
                raise ValueError(f"{name}: expected finite values, found others")
        return cls(deltas)

    def __add__(self, other: TaskVector) -> TaskVector:
        """The sum of two vectors of the same names."""
        self._check(other)
        return TaskVector({name: value + other.deltas[name] for name, value in self.deltas.items()})

    def __sub__(self, other: TaskVector) -> TaskVector:
        """The difference of two vectors of the same names."""
        return self + other * -1.0

    def __mul__(self, scale: float) -> TaskVector:
        """The vector so many times as long."""
        return TaskVector({name: scale * value for name, value in self.deltas.items()})

    __rmul__ = __mul__

    def dot(self, other: TaskVector) -> float:
        """The scalar product."""
        self._check(other)
        return sum(float((value * other.deltas[name]).sum()) for name, value in self.deltas.items())

    def norm(self) -> float:
        """The length."""
        return self.dot(self) ** 0.5

    def apply(self, base: Mapping[str, Tensor], scale: float = 1.0) -> dict[str, Tensor]:
        """A state dict: base + scale τ, and the base's tensors where there is none.

        Raises:
            ValueError: the base lacks a name.
        """
        missing = [name for name in self.deltas if name not in base]
        if missing:
            raise ValueError(f"base: expected {missing[:5]}, found no such names")
        moved = {name: (base[name] + scale * value.to(base[name].device)) for name, value in self.deltas.items()}
        return {name: moved[name].to(value.dtype) if name in moved else value for name, value in base.items()}

    def _check(self, other: TaskVector) -> None:
        differing = set(self.deltas) ^ set(other.deltas)
        if differing:
            raise ValueError(f"task vectors: expected the same names, found {sorted(differing)[:5]} in one of them")
