"""How time grows with size: `python -m representation.benchmarks.growth [NAME]`, a table and a plot from one run.

Writes NAME.md, NAME.png and NAME.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import tyro

from representation.benchmarks import commutative_monoids, gaunt_tensor_product, ponet, ponita
from representation.benchmarks.timing import Growth

GROWTHS: dict[str, Callable[[], Growth]] = {
    "commutative_monoids": commutative_monoids.growth,
    "gaunt_tensor_product": gaunt_tensor_product.growth,
    "ponet": ponet.growth,
    "ponita": ponita.growth,
}


@dataclass(frozen=True, slots=True)
class Arguments:
    """Measure times by size.

    Attributes:
        name: of a system; all of them if left out.
        output: directory that is written to.
    """

    name: Annotated[str, tyro.conf.Positional] = "all"
    output: Path = Path("docs/benchmarks/growth")


def main(args: Sequence[str] | None = None) -> None:
    """Measure, write and print."""
    arguments = tyro.cli(Arguments, args=args, description=__doc__)
    if arguments.name not in (*GROWTHS, "all"):
        raise SystemExit(f"name: expected one of {', '.join(GROWTHS)} or all, found {arguments.name!r}")
    mpl.use("Agg")
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in GROWTHS if arguments.name == "all" else [arguments.name]:
        growth = GROWTHS[name]()
        page = growth.table(f"{name}.png")
        growth.draw(arguments.output / f"{name}.png")
        (arguments.output / f"{name}.json").write_text(json.dumps(asdict(growth), indent=2) + "\n", encoding="utf-8")
        (arguments.output / f"{name}.md").write_text(page, encoding="utf-8")
        print(page)


if __name__ == "__main__":
    main()
