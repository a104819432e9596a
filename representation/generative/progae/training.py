"""Training of `ProGAE` on chains, and what is measured of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm

from representation.generative.progae.geometry import (
    bond_lengths,
    centred,
    checked_chains,
    contact_map,
    kabsch,
    mean_curvature,
    mean_direction,
    random_rotations,
    rmsd,
    rotations_about_z,
)
from representation.generative.progae.model import ChainCode, ProGAE
from representation.probes import ridge_probe

BATCH, LR, FINAL_LR = 64, 1e-3, 1e-5
Turns = Literal["any", "z", "none"]


def turned(x: Tensor, turns: Turns, generator: torch.Generator) -> Tensor:
    """Chains (B, n, 3), each about its mean and turned: by any rotation, about z, or not."""
    x = centred(x)
    if turns == "none":
        return x
    rotations = random_rotations if turns == "any" else rotations_about_z
    return x @ rotations(len(x), generator, x.dtype).mT


def train(
    model: ProGAE,
    x: Tensor,
    steps: int,
    seed: int,
    *,
    turns: Turns = "any",
    batch: int = BATCH,
    lr: float = LR,
    progress: bool = False,
) -> None:
    """Train what is trainable of a model by its loss; it is then in evaluation mode.

    A model of `transfer` stays in evaluation mode, so that its statistics of batches are kept.

    Args:
        model: what is trained, in place.
        x: chains (N, n, 3).
        steps: of Adam, along a cosine.
        seed: of batches and turns.
        turns: how each chain is turned whenever it is seen. Where chains are aligned to one another, `none`: the code
            of directions then tells how they differ from the frame that all are aligned to, and no pose.
        batch: chains by step.
        lr: at the start.
        progress: whether a bar is shown.

    Raises:
        ValueError: other shapes, positions that are not finite, or fewer than two chains by step.
    """
    checked_chains(x, model.config.n_nodes)
    if min(batch, len(x)) < 2 or steps < 1:
        raise ValueError(f"chains, batch, steps: expected at least 2, 2 and 1, found {len(x)}, {batch} and {steps}")
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.train(len(parameters) == sum(1 for _ in model.parameters()))
    optimizer = torch.optim.Adam(parameters, lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, min(lr, FINAL_LR))
    generator = torch.Generator().manual_seed(seed)
    for _ in tqdm(range(steps), desc="steps", unit="step", disable=not progress):
        rows = torch.randint(len(x), (batch,), generator=generator)
        optimizer.zero_grad()
        model.loss(turned(x[rows], turns, generator), generator)["total"].backward()
        optimizer.step()
        schedule.step()
    model.eval()


@dataclass(frozen=True)
class Reconstruction:
    """How chains come back; lengths in their unit.

    Attributes:
        rmsd: mean root mean square distance of the nodes, about the means of the chains.
        aligned: the same after the best rigid motion, which is the error of the shape.
        mean_shape: rmsd of a model that always gives the mean of the training chains.
        bond_error: mean error of a bond's length, by that length.
    """

    rmsd: float
    aligned: float
    mean_shape: float
    bond_error: float

    @property
    def share(self) -> float:
        """Rmsd by that of the mean shape."""
        return self.rmsd / self.mean_shape


@torch.no_grad()
def reconstruction(model: ProGAE, training: Tensor, test: Tensor) -> Reconstruction:
    """Measure a model on test chains (B, n, 3)."""
    test, found = centred(test), model(test)
    mean = centred(training).mean(dim=0).expand_as(test)
    errors = (bond_lengths(found) - bond_lengths(test)).abs() / bond_lengths(test)
    values = (rmsd(found, test), kabsch(found, test).rmsd, rmsd(mean, test), errors)
    return Reconstruction(*(float(value.mean()) for value in values))


@dataclass(frozen=True)
class Disentanglement:
    """What each code tells, by ridge regression (R squared on test chains), and what swaps do.

    Attributes:
        curvature_intrinsic: mean curvature, of the code of shape.
        curvature_extrinsic: the same, of the code of directions.
        direction_intrinsic: mean direction of the bonds, of the code of shape.
        direction_extrinsic: the same, of the code of directions.
        swap_shape: share of the swaps whose contacts are more like those of the chain that the shape is of.
        swap_pose: share of the swaps whose mean direction is more like that of the chain that the pose is of.
        swap_distance: share of the swaps whose distances between nodes are more like those of the shape's chain.
    """

    curvature_intrinsic: float
    curvature_extrinsic: float
    direction_intrinsic: float
    direction_extrinsic: float
    swap_shape: float
    swap_pose: float
    swap_distance: float


def probed(training: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    """R squared of a ridge regression from codes to targets, both (N, .)."""
    numpy = [tuple(part.numpy() for part in pair) for pair in (training, test)]
    return ridge_probe(numpy[0], numpy[1], "target").score


@torch.no_grad()
def disentanglement(model: ProGAE, training: Tensor, test: Tensor, seed: int, pairs: int = 200) -> Disentanglement:
    """Measure a model on chains (N, n, 3) as they lie; to tell shape from pose, they should lie in all directions."""
    known, asked = model.encode(training), model.encode(test)
    scores = [
        probed((known[code], target(training)), (asked[code], target(test)))
        for target in (curvatures, directions)
        for code in (0, 1)
    ]
    return Disentanglement(*scores, *swaps(model, test, seed, pairs))


def curvatures(x: Tensor) -> Tensor:
    """Mean curvature (B,) of chains, rad per unit of length."""
    return torch.from_numpy(mean_curvature(x.numpy()))


def directions(x: Tensor) -> Tensor:
    """Unit vectors (B, 3) of the mean direction of chains."""
    return torch.from_numpy(mean_direction(x.numpy()))


@torch.no_grad()
def swaps(model: ProGAE, x: Tensor, seed: int, pairs: int = 200) -> tuple[float, float, float]:
    """`swap_shape`, `swap_pose` and `swap_distance` of random pairs of two of the chains (B, n, 3)."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randint(len(x), (pairs,), generator=generator)
    b = (a + torch.randint(1, len(x), (pairs,), generator=generator)) % len(x)
    code = model.encode(x)
    swap = model.decode(ChainCode(code.intrinsic[a], code.extrinsic[b]))
    found, wanted = (contact_map(chains, *model.config.contact) for chains in (swap, x))
    shape = _nearer(found, wanted[a], wanted[b])
    distance = _nearer(*(torch.cdist(chains, chains) for chains in (swap, x[a], x[b])))
    found, wanted = directions(swap), directions(x)
    pose = ((found * wanted[b]).sum(dim=1) > (found * wanted[a]).sum(dim=1)).float().mean()
    return shape, float(pose), distance


def _nearer(found: Tensor, a: Tensor, b: Tensor) -> float:
    """Share of maps (P, n, n) that are nearer to the first than to the second of two others."""
    errors = [(found - other).square().mean(dim=(1, 2)) for other in (a, b)]
    return float((errors[0] < errors[1]).float().mean())
