"""Evidence of objects, some of it of others, fused by a learned monoid and by the weighted mean, which is a sum."""

from __future__ import annotations

import torch

from representation.benchmarks.claims import BenchOptions, Claim
from representation.structure.commutative_monoids.object_evidence import (
    EvidenceConfig,
    ObjectEvidence,
    drawn_sights,
    mean_place,
)
from representation.structure.commutative_monoids.train import trained_object_evidence

STEPS, SETS, SIGHTS, PARTS = 1500, 2000, (4, 16), 4


def run(options: BenchOptions) -> list[Claim]:
    """Errors of places, by seed."""
    found = [_one(seed, options.steps(STEPS)) for seed in range(options.seeds)]

    def claim(text: str, name: str, ours: str, baseline: str, least: float) -> Claim:
        return Claim(text, name, tuple(x[ours] for x in found), tuple(x[baseline] for x in found), least)

    task = "sights, a quarter of them of another object: error, cm, negated"
    return [
        *(
            claim(f"{n} {task}", "weighted mean, negated", f"monoid {n}", f"mean {n}", least)
            for n, least in ((4, 0.5), (16, 2.0))
        ),
        claim(
            f"16 {task}; states of {PARTS} cameras fused", "all sights by one camera", "parts", "monoid 16", least=-0.3
        ),
    ]


@torch.no_grad()
def _one(seed: int, steps: int) -> dict[str, float]:
    with torch.enable_grad():
        fuser = trained_object_evidence(EvidenceConfig(), steps, seed)
    result = {}
    for count in SIGHTS:
        seen, places = drawn_sights(SETS, count, torch.Generator().manual_seed(3_000_000 + seed))
        guesses = {f"monoid {count}": fused(fuser, seen, 1), f"mean {count}": mean_place(seen)}
        if count == max(SIGHTS):
            guesses["parts"] = fused(fuser, seen, PARTS)
        result |= {name: -100 * float((guess - places).norm(dim=1).mean()) for name, guess in guesses.items()}
    return result


def fused(fuser: ObjectEvidence, sights: torch.Tensor, cameras: int) -> torch.Tensor:
    """Places (B, 3) by sights (B, n, 4), which so many cameras saw in turn and fused by themselves first."""
    elements, there = fuser.elements(sights), sights[..., 3] > 0
    states = [fuser.monoid.fold(elements[:, k::cameras], there[:, k::cameras]) for k in range(cameras)]
    some = torch.stack([there[:, k::cameras].any(dim=1) for k in range(cameras)], dim=1)
    return fuser.told(fuser.monoid.fold(torch.stack(states, dim=1), some))[:, :3]
