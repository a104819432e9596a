"""Train what fuses sights of objects: `python -m representation.structure.commutative_monoids.train --output DIR`.

The sights are drawn, see `object_evidence.drawn_sights`; DIR is what `fusion.path` of `perception_node` takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import tyro
from torch import nn
from tqdm import tqdm

from representation.data.frames import expect_empty
from representation.structure.commutative_monoids.monoid import fold_levels
from representation.structure.commutative_monoids.object_evidence import EvidenceConfig, ObjectEvidence, drawn_sights

BATCH, MOST_SIGHTS, LR = 128, 24, 2e-3
PENALTY, TRIPLES, TESTED = 0.1, 384, 1000


@dataclass(frozen=True)
class TrainOptions:
    """What is trained.

    Attributes:
        output: directory to write; must not hold files.
        steps: of the optimizer.
        seed: of weights and sights.
        model: its sizes.
    """

    output: Path
    steps: int = 3000
    seed: int = 0
    model: EvidenceConfig = field(default_factory=EvidenceConfig)


def trained_object_evidence(config: EvidenceConfig, steps: int, seed: int, progress: bool = False) -> ObjectEvidence:
    """A fuser that has seen sets of up to 24 sights, in evaluation mode.

    The loss is that of a Laplace distribution of distances, with the penalty of associativity on states of the tree.
    """
    generator = torch.Generator().manual_seed(seed)
    model = ObjectEvidence(config, generator)
    optimizer = torch.optim.Adam(model.parameters(), LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in tqdm(range(steps), desc="steps", unit="step", disable=not progress):
        sights = int(torch.randint(1, MOST_SIGHTS + 1, (), generator=generator))
        seen, place = drawn_sights(BATCH, sights, generator)
        levels = fold_levels(model.monoid.combine, model.elements(seen), seen[..., -1] > 0)
        told = model.told(levels[-1][0][:, 0])
        distance, spread = (told[:, :3] - place).norm(dim=1), told[:, 3]
        states = torch.cat([level[there] for level, there in levels])
        chosen = states[torch.randint(len(states), (TRIPLES,), generator=generator)]
        loss = (distance / spread + 3 * spread.log()).mean() + 10 * distance.mean()
        loss = loss + PENALTY * model.monoid.associativity_penalty(chosen)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def main(args: Sequence[str] | None = None) -> None:
    """Train from the command line, and tell the error on sights that were not trained on."""
    options = tyro.cli(TrainOptions, args=args, description=__doc__)
    expect_empty(options.output)
    model = trained_object_evidence(options.model, options.steps, options.seed, progress=True)
    model.save(options.output)
    with torch.no_grad():
        for sights in (1, 4, 16):
            seen, place = drawn_sights(TESTED, sights, torch.Generator().manual_seed(options.seed + 1_000_000))
            told = model.told(model.monoid.fold(model.elements(seen), seen[..., -1] > 0))
            distance = 100 * float((told[:, :3] - place).norm(dim=1).mean())
            print(f"{sights} sights: off by {distance:.1f} cm, expected {100 * float(told[:, 3].mean()):.1f}")


if __name__ == "__main__":
    main()
