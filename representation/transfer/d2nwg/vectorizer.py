"""`WeightVectorizer`: a state dict as one vector of numbers, and back; and classifier heads as functions of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

State = Mapping[str, Tensor]


class WeightVectorizer:
    """All tensors of a state dict one after the other, in its order.

    Args:
        template: a state dict whose names and shapes all others have.
        pad_to: length that vectors are brought to by zeros; that of the weights if None.
        scale: that weights are divided by.
        skip: endings of names that are left out; `unflatten` takes these from the template. Running statistics of batch
            norms are kept.

    Attributes:
        length: numbers of the weights, without padding.

    Raises:
        ValueError: nothing to keep, tensors of whole numbers, or too short a padding.
    """

    def __init__(
        self,
        template: State,
        pad_to: int | None = None,
        scale: float = 1.0,
        skip: Sequence[str] = ("num_batches_tracked",),
    ) -> None:
        self._template = {name: value.detach().clone() for name, value in template.items()}
        self.names = tuple(name for name in template if not name.endswith(tuple(skip)))
        whole = [name for name in self.names if not template[name].is_floating_point()]
        if not self.names or whole:
            raise ValueError(f"template: expected tensors of real numbers, found {whole or 'none'}")
        self.shapes = {name: tuple(template[name].shape) for name in self.names}
        self.length = sum(template[name].numel() for name in self.names)
        self.padded = self.length if pad_to is None else pad_to
        if self.padded < self.length or scale <= 0:
            raise ValueError(f"pad_to, scale: expected at least {self.length} and more than 0, found {pad_to}, {scale}")
        self.scale = scale
        wide = any(template[name].dtype == torch.float64 for name in self.names)
        self._dtype = torch.float64 if wide else torch.float32

    def flatten(self, state: State) -> Tensor:
        """The vector (padded,) of a state dict.

        Raises:
            ValueError: other names or shapes than the template's, or numbers that are not finite.
        """
        found = {name: tuple(value.shape) for name, value in state.items() if name in self.shapes}
        if found != self.shapes:
            raise ValueError(f"state: expected {self.shapes}, found {found or sorted(state)}")
        vector = torch.cat([state[name].detach().to(self._dtype).flatten() for name in self.names]) / self.scale
        if not torch.isfinite(vector).all():
            raise ValueError("state: expected finite numbers, found others")
        return F.pad(vector, (0, self.padded - self.length))

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """The state dict of a vector (padded,).

        Raises:
            ValueError: of another length.
        """
        if vector.shape != (self.padded,):
            raise ValueError(f"vector: expected {self.padded} numbers, found shape {tuple(vector.shape)}")
        parts = iter((vector[: self.length] * self.scale).split([self._template[n].numel() for n in self.names]))
        return {
            name: next(parts).reshape(value.shape).to(value.dtype) if name in self.shapes else value.clone()
            for name, value in self._template.items()
        }

    def chunks(self, vectors: Tensor, n: int) -> Tensor:
        """Vectors (B, padded) in n equal parts (B, n, ceil(padded / n)), the last filled up by zeros."""
        if n < 1 or vectors.shape[-1] != self.padded:
            raise ValueError(f"chunks: expected 1 or more of {self.padded} numbers, found {n} of {vectors.shape[-1]}")
        return F.pad(vectors, (0, -self.padded % n)).unflatten(-1, (n, -1))

    def join(self, chunks: Tensor) -> Tensor:
        """What `chunks` (B, n, size) was made of."""
        return chunks.flatten(-2)[..., : self.padded]


def head_logits(state: State, features: Tensor) -> Tensor:
    """Logits (..., C) of features (..., d) by a head: linear layers in the order of the state dict, ReLU between them.

    Raises:
        ValueError: it has other tensors than weights (out, in) and biases, or does not fit.
    """
    weights = [name for name in state if name.endswith("weight")]
    known = {*weights, *(name.removesuffix("weight") + "bias" for name in weights)}
    if not weights or set(state) - known or any(state[name].ndim != 2 for name in weights):
        raise ValueError(f"state: expected linear layers, found {sorted(state)}; give an `evaluate` for others")
    if features.shape[-1] != state[weights[0]].shape[1]:
        raise ValueError(f"features: expected {state[weights[0]].shape[1]} numbers, found {features.shape[-1]}")
    for name in weights:
        features = F.linear(features, state[name], state.get(name.removesuffix("weight") + "bias"))
        features = features if name == weights[-1] else features.relu()
    return features


def with_classes_in_order(state: State, order: Tensor) -> dict[str, Tensor]:
    """A head whose class i is class `order[i]` of the given one: the rows of its last layer in that order."""
    last = [name for name in state if name.endswith("weight")][-1].removesuffix("weight")
    return {name: value[order] if name.startswith(last) else value for name, value in state.items()}
