"""Meta-train a Hamiltonian: `python -m representation.dynamics.hamiltonian_meta.train --output DIR`.

Without `--tools` it learns from known laws in the plane; with it from the free pendulums and springs of
`python -m sim.held_tools`, for what a gripper holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro

from representation.data.frames import expect_empty
from representation.dynamics.hamiltonian_meta.adaptation import MetaConfig, train
from representation.dynamics.hamiltonian_meta.network import HamiltonianConfig, HamiltonianNet, Kind
from representation.dynamics.hamiltonian_meta.systems import SYSTEMS
from representation.dynamics.hamiltonian_meta.windows import read_held_tools


@dataclass(frozen=True)
class TrainOptions:
    """What is trained.

    Attributes:
        output: directory to write; must not hold files.
        tools: directory with the windows of held tools.
        laws: names of the systems that are learned from, where there are no tools.
        trajectories: of each.
        kind: of network; several numbers of bodies want a gnn.
        hidden: its width.
        seed: of everything that is drawn.
        meta: how it is trained.
    """

    output: Path
    tools: Path | None = None
    laws: tuple[str, ...] = ("mass-spring", "pendulum", "henon-heiles", "quartic well")
    trajectories: int = 15
    kind: Kind = "mlp"
    hidden: int = 64
    seed: int = 0
    meta: Annotated[MetaConfig, tyro.conf.arg(name="")] = field(
        default_factory=lambda: MetaConfig(iterations=400, outer_lr=1e-3, tasks=8, inner_lr=0.15, inner_steps=5)
    )


def main(args: Sequence[str] | None = None) -> None:
    """Train, and write the network."""
    options = tyro.cli(TrainOptions, args=args, description=__doc__)
    expect_empty(options.output)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    if options.tools is not None:
        learned = read_held_tools(options.tools).passive
    else:
        unknown = set(options.laws) - set(SYSTEMS)
        if unknown:
            raise SystemExit(f"--laws: expected some of {', '.join(SYSTEMS)}, found {', '.join(sorted(unknown))}")
        learned = [SYSTEMS[name].drawn(options.trajectories, generator) for name in options.laws]
    sizes = {(part.states.shape[2], part.states.shape[3] // 2) for part in learned}
    if len(sizes) > 1 and options.kind == "mlp":
        raise SystemExit(f"--kind: expected gnn for several numbers of bodies, found mlp for {sorted(sizes)}")
    bodies, coordinates = max(sizes)
    net = HamiltonianNet(HamiltonianConfig(options.kind, bodies, coordinates, options.hidden))
    losses = train(net, learned, options.meta, generator)
    net.save(options.output)
    print(f"{options.output}: loss after the inner steps {losses[0]:.3f} at first, {losses[-1]:.3f} in the end")


if __name__ == "__main__":
    main()
