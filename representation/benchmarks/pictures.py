"""`python -m representation.benchmarks.pictures [NAME]`: what systems make of pictures, to be looked at.

Each trains one small model (seed 0) and writes docs/benchmarks/pictures/NAME.png.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro

from representation.benchmarks import (
    addp,
    binary_latent_diffusion,
    customcontrast,
    diffusion_classification,
    diti,
    dts,
    madeleine,
    mmist,
    progae,
    qlae,
    topkld,
)
from representation.benchmarks.claims import BenchOptions

PICTURES: dict[str, Callable[[BenchOptions, Path], None]] = {
    "addp": addp.pictures,
    "binary_latent_diffusion": binary_latent_diffusion.pictures,
    "customcontrast": customcontrast.pictures,
    "diffusion_classification": diffusion_classification.pictures,
    "diti": diti.pictures,
    "dts": dts.pictures,
    "madeleine": madeleine.pictures,
    "mmist": mmist.pictures,
    "progae": progae.pictures,
    "qlae": qlae.pictures,
    "topkld": topkld.pictures,
}


@dataclass(frozen=True, slots=True)
class Arguments:
    """Draw what systems make of pictures.

    Attributes:
        name: of a system; all of them if left out.
        output: directory that is written to.
        threads: of torch.
        options: how much is trained, and on what.
    """

    name: Annotated[str, tyro.conf.Positional] = "all"
    output: Path = Path("docs/benchmarks/pictures")
    threads: int = 2
    options: Annotated[BenchOptions, tyro.conf.arg(name="")] = field(default_factory=BenchOptions)


def main(args: Sequence[str] | None = None) -> None:
    """Draw and say where."""
    arguments = tyro.cli(Arguments, args=args, description=__doc__)
    if arguments.name not in (*PICTURES, "all"):
        raise SystemExit(f"name: expected one of {', '.join(PICTURES)} or all, found {arguments.name!r}")
    torch.set_num_threads(arguments.threads)
    for name in PICTURES if arguments.name == "all" else [arguments.name]:
        file = arguments.output / f"{name}.png"
        PICTURES[name](arguments.options, file)
        print(f"wrote {file}")


if __name__ == "__main__":
    main()
