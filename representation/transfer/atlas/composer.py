"""A frozen network, moved along task vectors by as much as its coefficients say."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.func import functional_call, jvp

from representation.transfer.atlas.task_vector import TaskVector

Granularity = Literal["block", "global", "partition"]
COEFFICIENTS = "coefficients.safetensors"


class AnisotropicComposer(nn.Module):
    """A frozen network plus task vectors, each block of each scaled by a coefficient of its own.

    Args:
        module: the base; a copy is kept.
        task_vectors: n of them.
        granularity: "block" has a coefficient for each block, "global" one for all of a vector's, "partition" K for
            each block, whose elements are assigned to K groups at random, alike in all blocks of a shape.
        partitions: K.
        keys: names of the blocks; None for all parameters of which the vectors have a delta.
        seed: of the groups.
        linearized: the first order in the coefficients, by one forward-mode derivative, in place of the network itself.
        every_shape: partition all blocks, and not only those of two axes.

    Attributes:
        coef: (n, m), (n, 1) if global, or (n, m, K); begins at 0.
        blocks: names of the m blocks.

    Raises:
        ValueError: no vectors, or ones that do not fit the module.
    """

    def __init__(
        self,
        module: nn.Module,
        task_vectors: Sequence[TaskVector],
        granularity: Granularity = "block",
        partitions: int = 10,
        keys: Sequence[str] | None = None,
        seed: int = 0,
        linearized: bool = False,
        every_shape: bool = False,
    ) -> None:
        super().__init__()
        if granularity not in ("block", "global", "partition"):
            raise ValueError(f"granularity: expected block, global or partition, found {granularity!r}")
        if not task_vectors or partitions < 1:
            raise ValueError(f"task_vectors, partitions: expected some, found {len(task_vectors)} and {partitions}")
        self.module = copy.deepcopy(module).requires_grad_(False).eval()
        self.granularity, self.partitions, self.linearized = granularity, partitions, linearized
        tensors = dict(self.module.named_parameters())
        names = [name for name in tensors if all(name in one.deltas for one in task_vectors)] if keys is None else keys
        self._moved_buffers = {name: value for name, value in self.module.named_buffers() if name in names}
        if self._moved_buffers and linearized:
            raise ValueError(f"linearized: expected blocks of parameters, found {list(self._moved_buffers)}")
        tensors |= self._moved_buffers
        covered = [n for n in names if granularity != "partition" or every_shape or tensors[n].ndim == 2]
        self.blocks: list[str] = covered
        if not self.blocks:
            raise ValueError("task_vectors: expected deltas of the module's parameters, found none")
        for name in self.blocks:
            for vector in task_vectors:
                found = vector.deltas.get(name)
                if name not in tensors or found is None or found.shape != tensors[name].shape:
                    raise ValueError(
                        f"{name}: expected a delta of shape {tuple(tensors[name].shape) if name in tensors else None}, "
                        f"found {None if found is None else tuple(found.shape)}"
                    )
        n, m = len(task_vectors), len(self.blocks)
        self._deltas = [torch.stack([one.deltas[name] for one in task_vectors]) for name in self.blocks]
        self._groups = _groups({tuple(d.shape[1:]) for d in self._deltas}, partitions, seed) if self._grouped else {}
        self.kept = torch.ones(n, m, dtype=torch.bool)
        shape = {"block": (n, m), "global": (n, 1), "partition": (n, m, partitions)}[granularity]
        self.coef = nn.Parameter(torch.zeros(shape))

    @property
    def _grouped(self) -> bool:
        return self.granularity == "partition"

    def train(self, mode: bool = True) -> AnisotropicComposer:
        """Set the mode of the composer; the frozen network is always in evaluation mode."""
        super().train(mode)
        self.module.eval()
        return self

    def keep(self, kept: Tensor) -> None:
        """Let go of the deltas of all other (vector, block) pairs (n, m); their coefficients count no more."""
        if self.granularity == "global" or kept.shape != self.kept.shape:
            raise ValueError(f"kept: expected {tuple(self.kept.shape)} without global, found {tuple(kept.shape)}")
        if (kept & ~self.kept).any():
            raise ValueError("kept: expected pairs that are still there, found others")
        for place in range(len(self.blocks)):
            self._deltas[place] = self._deltas[place][kept[self.kept[:, place], place]]
        self.kept = kept.clone()

    def moves(self) -> dict[str, Tensor]:
        """What is added to each block."""
        found = {}
        for place, (name, deltas) in enumerate(zip(self.blocks, self._deltas, strict=True)):
            if not len(deltas):
                continue
            scale = self.coef[:, 0 if self.granularity == "global" else place][self.kept[:, place]]
            deltas = deltas.to(scale)
            if self._grouped:
                groups = self._groups[tuple(deltas.shape[1:])].to(scale.device)
                found[name] = (scale[:, groups] * deltas).sum(dim=0)
            else:
                found[name] = torch.tensordot(scale, deltas, dims=1)
            if name in self._moved_buffers:
                found[name] = found[name].detach()
        return found

    def composed(self) -> dict[str, Tensor]:
        """Blocks as they are with the present coefficients."""
        base = dict(self.module.named_parameters()) | dict(self.module.named_buffers())
        return {name: base[name] + move.to(base[name]) for name, move in self.moves().items()}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the composed network gives for these arguments."""
        if not self.linearized:
            return functional_call(self.module, self.composed(), args, kwargs)
        moves = self.moves()
        base = dict(self.module.named_parameters()) | dict(self.module.named_buffers())
        at = {name: base[name].detach() for name in moves}
        value, change = jvp(lambda tensors: functional_call(self.module, tensors, args, kwargs), (at,), (moves,))
        return value + change

    @torch.no_grad()
    def merged_state_dict(self) -> dict[str, Tensor]:
        """State dict of the composed network, for a module like the base; tied tensors stay equal.

        Raises:
            ValueError: a linearised network is no network of that kind.
        """
        if self.linearized:
            raise ValueError("linearized: expected a composer that is not, found one that is")
        composed = self.composed()
        owner = {id(value): name for name, value in self.module.named_parameters()}
        aliases = {name: owner[id(value)] for name, value in self.module.named_parameters(remove_duplicate=False)} | {
            name: name for name, _ in self.module.named_buffers()
        }
        return {
            name: composed.get(aliases.get(name, name), value).detach().clone()
            for name, value in self.module.state_dict().items()
        }

    def save(self, directory: Path) -> None:
        """Write the coefficients, which are all that has to be shipped where base and vectors are."""
        directory.mkdir(parents=True, exist_ok=True)
        save_file({"coef": self.coef.detach().cpu().contiguous(), "kept": self.kept}, directory / COEFFICIENTS)

    def load(self, directory: Path) -> None:
        """Read what `save` wrote, of a composer of the same vectors and blocks.

        Raises:
            FileNotFoundError: there is none.
            ValueError: of another shape.
        """
        stored = load_file(directory / COEFFICIENTS)
        if stored["coef"].shape != self.coef.shape:
            raise ValueError(f"coef: expected {tuple(self.coef.shape)}, found {tuple(stored['coef'].shape)}")
        if self.granularity != "global":
            self.keep(stored["kept"])
        with torch.no_grad():
            self.coef.copy_(stored["coef"])


def _groups(shapes: set[tuple[int, ...]], count: int, seed: int) -> dict[tuple[int, ...], Tensor]:
    """The group of each element, for each shape."""
    found = {}
    for shape in sorted(shapes):
        generator = torch.Generator().manual_seed(seed)
        found[shape] = torch.randint(count, shape, generator=generator)
    return found
