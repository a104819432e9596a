"""The systems of `representation/`: `python -m representation.list [--system NAME]`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tyro

from representation.registry import SYSTEMS, module_of


@dataclasses.dataclass(frozen=True)
class ListOptions:
    """What to show.

    Attributes:
        system: one system with all that its configuration may set; all systems, a line each, if left out.
    """

    system: str = ""


def lines(options: ListOptions) -> list[str]:
    """What is printed.

    Raises:
        ValueError: no such system.
    """
    if not options.system:
        width = 2 + max(map(len, SYSTEMS))
        return [f"{name:<{width}}{system.role}" for name, system in sorted(SYSTEMS.items())]
    module, system = module_of(options.system), SYSTEMS[options.system]
    about = [f"{field.name:<9}{getattr(system, field.name)}" for field in dataclasses.fields(system)]
    if not hasattr(module, "Config"):
        return about
    settings = [f"  --set {field.name}={field.default}" for field in dataclasses.fields(module.Config)]
    return [*about, "", (module.Config.__doc__ or "").strip(), "", *settings]


def main(args: Sequence[str] | None = None) -> None:
    """Print them."""
    print("\n".join(lines(tyro.cli(ListOptions, args=args, description=__doc__))))


if __name__ == "__main__":
    main()
