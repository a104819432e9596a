"""What drives the actions of a policy: the interaction basis of its head on recorded observations."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from policies.action_heads import ActionHead
from policies.interface import Observation, Policy
from representation.analysis.interaction_basis import (
    Basis,
    Synchronized,
    ablation_curve,
    build,
    edges,
    kept_variance,
    map_parameters,
    modularity,
    required_directions,
    synchronized_units,
)
from representation.analysis.interaction_basis.ablation import factored
from representation.analysis.interaction_basis.degeneracy import hessian_values

TOLERANCES = (0.1, 0.01, 0.001)
PROBES = 32  # for heads of a thousand tokens
EPS = 1e-10
SAME = 1e-9
HESSIAN_ROWS, HESSIAN_PROBES = 24, 12
SYNCHRONISED = 0.0  # share of rows on which synchronised units may differ; more would join units that hardly ever open
MODULE_SHARE = 0.01


@dataclass(frozen=True)
class LayerFindings:
    """One layer of a head.

    Attributes:
        place: number of the map that the layer enters.
        weights: name of that map in the policy's network.
        size: activations.
        basis: the interaction basis.
        curves: measure with 0, 1, ... directions on held-out rows, by "interaction basis" and "principal components".
        needed: directions that stay within each of `TOLERANCES`, likewise.
        kept: directions of the replacement; None where it would save nothing and the map stays.
        numbers: of the map's weights and biases, and of its replacement.
        effective: parameters of the map that can matter, by the ranks on both its sides.
    """

    place: int
    weights: str
    size: int
    basis: Basis
    curves: Mapping[str, Tensor]
    needed: Mapping[str, list[int | None]]
    kept: int | None
    numbers: tuple[int, int]
    effective: int


@dataclass(frozen=True)
class HeadFindings:
    """One head.

    Attributes:
        head: which.
        rows: that the basis was computed on, and held-out ones.
        layers: its layers.
        hessian: eigenvalues of the behavioural loss's Hessian by its largest, on a few rows.
        parameters: of the head.
        synchronized: units of its hidden layer that open together; None without a hidden layer.
        drives: (k, r) mean squares of what each direction of the first layer adds to each number of the action; None
            where a token is chosen.
        modules: modularity of the graph of its layers' directions, and how many modules have an edge; None for one map.
        maps: replacements, by place.
    """

    head: ActionHead
    rows: tuple[int, int]
    layers: list[LayerFindings]
    hessian: Tensor
    parameters: int
    synchronized: Synchronized | None
    drives: Tensor | None
    modules: tuple[float, int] | None
    maps: dict[int, tuple[nn.Linear, nn.Linear]] = field(default_factory=dict)


class Probed(nn.Module):
    """A few random sums of many outputs, whose gradients are on average as those of all."""

    signs: Tensor

    def __init__(self, seq: nn.Sequential) -> None:
        super().__init__()
        self.seq = seq
        signs = torch.randint(2, (seq[0].out_features, HESSIAN_PROBES), generator=torch.Generator().manual_seed(0))
        self.register_buffer("signs", (2.0 * signs - 1) / HESSIAN_PROBES**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(N, `HESSIAN_PROBES`) of inputs (N, d)."""
        return self.seq(x) @ self.signs


def same_share(wanted: Tensor) -> Callable[[Tensor], float]:
    """A measure of actions (N, k): the share that are the wanted ones."""

    def measure(actions: Tensor) -> float:
        return float(((actions - wanted).abs().amax(dim=1) < SAME).double().mean())

    return measure


def examine(head: ActionHead, rows: Tensor, held_out: Tensor, tolerance: float) -> HeadFindings:
    """Find the directions of a head, and the smallest maps that do as well.

    Args:
        head: see `action_heads`.
        rows: (N, d) features that entered it.
        held_out: (M, d), of other episodes.
        tolerance: that a replacement may lose on held-out rows: share of the actions' variance, or of the choices.

    Raises:
        ValueError: no rows to look at.
    """
    if not len(rows) or not len(held_out):
        raise ValueError(f"{head.name}: expected features of two episodes or more, found {len(rows)}, {len(held_out)}")
    places, center = list(head.weights), head.centered
    probes = PROBES if head.chooses else 0
    bases = build(head.seq, rows, places, "global", center, EPS, fold=center, probes=probes)
    others = build(head.seq, rows, places, "pca", center, EPS, fold=center)
    named = {"interaction basis": bases, "principal components": others}
    with torch.no_grad():
        wanted = copy.deepcopy(head.acted).double()(held_out.double())
    measure = same_share(wanted) if head.chooses else kept_variance(wanted)
    layers, maps = [], {}
    for number, place in enumerate(places):
        module = head.seq[place]
        curves = {name: ablation_curve(head.acted, place, one[place], held_out, measure) for name, one in named.items()}
        needed = {name: [within(curve, tolerance) for tolerance in TOLERANCES] for name, curve in curves.items()}
        kept = required_directions(head.acted, place, bases[place], held_out, tolerance, measure)
        whole = sum(one.numel() for one in module.parameters())
        parts = factored(module, bases[place], kept)
        small = sum(one.numel() for part in parts for one in part.parameters())
        behind = bases[places[number + 1]].rank_act if number + 1 < len(places) else len(head.axes)
        if small < whole:
            maps[place] = (parts[0], parts[1])
        layers.append(
            LayerFindings(
                place,
                head.weights[place],
                module.in_features,
                bases[place],
                curves,
                needed,
                kept if small < whole else None,
                (whole, min(small, whole)),
                map_parameters(bases[place].rank_act, behind),
            )
        )
    hidden = len(places) > 1
    strengths = edges(head.seq, bases, held_out) if hidden else None
    return HeadFindings(
        head,
        (len(rows), len(held_out)),
        layers,
        hessian_values(Probed(head.seq) if head.chooses else head.seq, spread(rows, HESSIAN_ROWS)),
        sum(parameter.numel() for parameter in head.seq.parameters()),
        synchronized_units(head.seq[0](rows.to(head.seq[0].weight)).detach(), SYNCHRONISED) if hidden else None,
        edges(head.seq, {places[0]: bases[places[0]]}, held_out)[0] if not head.chooses else None,
        _modules(strengths) if strengths is not None else None,
        maps,
    )


def within(curve: Tensor, tolerance: float) -> int | None:
    """Fewest directions with which, and with any more, a measure is within a tolerance of 1; None if never."""
    failing = (curve < 1 - tolerance).nonzero()
    first = int(failing.max()) + 1 if len(failing) else 0
    return first if first < len(curve) else None


def spread(rows: Tensor, count: int) -> Tensor:
    """Some rows, evenly spread."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]


def _modules(strengths: Sequence[Tensor]) -> tuple[float, int]:
    quality, labels = modularity(strengths, [MODULE_SHARE * float(one.max()) for one in strengths])
    return quality, int((torch.cat(labels).bincount() > 1).sum())


def action_difference(
    one: Policy, other: Policy, episodes: Sequence[Sequence[Observation]]
) -> dict[str, list[float] | float]:
    """How far the answers of two policies to recorded observations lie apart, from the same random draws.

    Returns:
        `mean_absolute`, by number of a row, and `share_of_variance`: the squared difference by the variance of the
        first policy's answers.
    """
    rows: list[list[np.ndarray]] = [[], []]
    for place, policy in enumerate((one, other)):
        for episode in episodes:
            policy.reset(0)
            rows[place] += [policy.act(observation).rows for observation in episode]
    first, second = (np.concatenate(part) for part in rows)
    variance = first.var(axis=0)
    moving = variance > SAME
    share = (np.square(second - first).mean(axis=0)[moving] / variance[moving]).mean() if moving.any() else 0.0
    return {
        "mean_absolute": np.abs(second - first).mean(axis=0).tolist(),
        "share_of_variance": float(share),
    }
