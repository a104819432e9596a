"""Learn codes of shape and pose of a cable: `python -m representation.generative.progae.fit --data DIR --output DIR`.

`--data` holds frames of one kind of chain: cables (`python -m sim.cables --output DIR`), any npz trajectory with
`positions` (F, n, 3), or the backbone of a protein (a `.pdb` file, or `representation.generative.progae.ensembles`).
The last fifth of the episodes is held out, or of the frames where there is one episode only. The directory gets the
model, `report.json` (how chains come back, what each code tells, what swaps do) and `goals.png`, goals for held-out
frames.

With `--other DIR`, of a chain with another number of nodes, `transfer` retrains the decoder's dense layer alone on 200
of its frames, beside a model that is trained on these from nothing with as many steps; it is written to `other/`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor

from representation.data.frames import expect_empty
from representation.generative.progae.chains import Chains, open_chains
from representation.generative.progae.geometry import kabsch
from representation.generative.progae.model import ProGAE, ProGAEConfig, transfer
from representation.generative.progae.shape_goals import PICTURE_FILE, draw_goals, shape_goals
from representation.generative.progae.training import (
    BATCH,
    Reconstruction,
    disentanglement,
    reconstruction,
    train,
    turned,
)

REPORT_FILE, OTHER = "report.json", "other"
PROTEIN_CONTACT = (8.0, 1.0)  # angstrom
SHOWN, SHOWN_STEPS = 4, 4


@dataclass(frozen=True)
class FitOptions:
    """What is trained.

    Attributes:
        data: chains.
        output: directory to write; must not hold files.
        other: chains with another number of nodes, to transfer to.
        protein: whether contacts are those of proteins (8 angstrom) and all frames are aligned to the first: the code
            of directions then tells how bonds differ from it, and no pose.
        steps: of the optimizer.
        batch: chains by step.
        transfer_frames: of the other chains that are trained with.
        transfer_steps: of the optimizer, there.
        held_out: share that is not trained with.
        d_intrinsic: numbers of the code of shape.
        d_extrinsic: numbers of the code of directions.
        cross_weight: how much swaps weigh, see `ProGAEConfig`.
        seed: of weights, batches and pairs.
        threads: of torch.
    """

    data: Path
    output: Path
    other: Path | None = None
    protein: bool = False
    steps: int = 1200
    batch: int = BATCH
    transfer_frames: int = 200
    transfer_steps: int = 300
    held_out: float = 0.2
    d_intrinsic: int = 16
    d_extrinsic: int = 16
    cross_weight: float = 1.0
    seed: int = 0
    threads: int = 2


def split(chains: Chains, options: FitOptions) -> tuple[Tensor, Tensor]:
    """Chains to train on, and those that are held out; aligned to the first if they are of a protein.

    Raises:
        ValueError: fewer than ten frames.
    """
    if len(chains.positions) < 10:
        raise ValueError(f"chains: expected at least 10 frames, found {len(chains.positions)}")
    if len(np.unique(chains.episode)) == 1:
        chains = Chains(chains.positions, np.arange(len(chains.positions)))
    training, test = (torch.from_numpy(part.positions) for part in chains.split(options.held_out))
    return (aligned(training, training[0]), aligned(test, training[0])) if options.protein else (training, test)


def aligned(x: Tensor, to: Tensor) -> Tensor:
    """Chains (B, n, 3), each moved onto another (n, 3) as well as it can be."""
    found = kabsch(x, to.expand_as(x))
    return x @ found.rotation.mT + found.shift[:, None]


def new_model(training: Tensor, options: FitOptions) -> ProGAE:
    """An untrained model for such chains."""
    bond = float(training.diff(dim=1).norm(dim=2).mean())
    r0, width = PROTEIN_CONTACT if options.protein else (0.0, 0.0)
    config = ProGAEConfig(
        training.shape[1], options.d_intrinsic, options.d_extrinsic, bond, r0, width, cross_weight=options.cross_weight
    )
    return ProGAE(training.shape[1], config=config, seed=options.seed)


def transferred(model: ProGAE, training: Tensor, test: Tensor, options: FitOptions) -> tuple[ProGAE, list[float]]:
    """The model for other chains, and its rmsd beside that of one that starts from nothing, in their unit."""
    turns = "none" if options.protein else "any"
    few = training[torch.randperm(len(training), generator=torch.Generator().manual_seed(options.seed))]
    few = few[: options.transfer_frames]
    fresh = new_model(few, options)
    dense = transfer(model, few.shape[1], fresh.config.bond, options.seed)
    for one in (dense, fresh):
        train(one, few, options.transfer_steps, options.seed, turns=turns, batch=options.batch, progress=True)
    return dense, [reconstruction(one, few, test).rmsd for one in (dense, fresh)]


def told(result: Reconstruction, bond: float) -> str:
    """What is printed of a reconstruction."""
    return (
        f"rmsd {result.rmsd:.4g} ({result.rmsd / bond:.2f} bonds), {result.share:.3f} of the mean shape's; "
        f"shape alone {result.aligned:.4g}; bond lengths {100 * result.bond_error:.1f} % off"
    )


def main(args: Sequence[str] | None = None) -> None:
    """Train, measure, transfer and write."""
    options = tyro.cli(FitOptions, args=args, description=__doc__)
    expect_empty(options.output)
    torch.set_num_threads(options.threads)
    training, test = split(open_chains(options.data), options)
    other = split(open_chains(options.other), options) if options.other else None
    turns = "none" if options.protein else "any"
    model = new_model(training, options)
    train(model, training, options.steps, options.seed, turns=turns, batch=options.batch, progress=True)
    model.save(options.output)
    came_back = reconstruction(model, training, test)
    print(f"{len(test)} held-out chains of {training.shape[1]} nodes: {told(came_back, model.config.bond)}")
    # In all directions, as a table leaves chains little freedom to lie in.
    generator = torch.Generator().manual_seed(options.seed)
    known, asked = (turned(part, turns, generator) for part in (training, test))
    codes = disentanglement(model, known, asked, options.seed)
    print("R2 and shares of swaps: " + ", ".join(f"{name} {value:.3f}" for name, value in asdict(codes).items()))
    report = {"reconstruction": asdict(came_back), "codes": asdict(codes)}
    if other is not None:
        found, (dense, fresh) = transferred(model, *other, options)
        found.save(options.output / OTHER)
        report["transfer"] = {"nodes": other[0].shape[1], "dense_alone": dense, "from_nothing": fresh}
        print(f"{other[0].shape[1]} nodes: rmsd {dense:.4g} by the dense layer alone, {fresh:.4g} from nothing")
    (options.output / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    pairs = torch.randint(len(test), (SHOWN, 2), generator=generator)
    rows = [(test[a], test[b], shape_goals(model, test[a], test[b], "shape", SHOWN_STEPS)) for a, b in pairs]
    draw_goals(rows, options.output / PICTURE_FILE)


if __name__ == "__main__":
    main()
