"""`python -m representation.bench [NAME]`: check what is claimed of the systems, beside baselines, over seeds.

Each system's result is kept in docs/benchmarks/representation/NAME.json; with `--write` it is stored there, and the
page docs/benchmarks/representation.md is made anew from all that are stored.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from representation.benchmarks import (
    addp,
    atlas,
    benchx,
    binary_latent_diffusion,
    bt2,
    clip,
    cloud_road,
    commutative_monoids,
    customcontrast,
    d2nwg,
    d_simplex,
    d_sla,
    deep_kernel_machines,
    diffusion_classification,
    disentanglement,
    diti,
    dts,
    episode_memory,
    feature_bias,
    frame_averaging,
    gaunt_tensor_product,
    gcrl,
    geodesic_mixup,
    grounded_language,
    hamiltonian_meta,
    held_tools,
    i2p_mae,
    interaction_basis,
    invariance_transfer,
    lie_decompositions,
    madeleine,
    matryoshka,
    mbat_vsa,
    memory_upgrades,
    mixed_barlow_twins,
    mmist,
    mochi,
    neural_cross_subject,
    object_evidence,
    oca,
    origin_identification,
    pac_invariant,
    ped,
    ponet,
    ponita,
    pretraining,
    progae,
    qlae,
    relative_representations,
    rich_representations,
    scene_changes,
    scene_roles,
    segmentation,
    selection,
    shda_ktf,
    sheaf_diffusion,
    sie,
    spen,
    tmi,
    topkld,
    tvts,
    tvts_arm,
    upgrade,
    workspace_forecast,
)
from representation.benchmarks.claims import BenchOptions, Claim

RESULTS, PAGE = Path("docs/benchmarks/representation"), Path("docs/benchmarks/representation.md")
PICTURES = Path("docs/benchmarks/pictures")
BENCHMARKS = {
    "addp": addp,
    "atlas": atlas,
    "benchx": benchx,
    "binary_latent_diffusion": binary_latent_diffusion,
    "bt2": bt2,
    "clip": clip,
    "cloud_road": cloud_road,
    "commutative_monoids": commutative_monoids,
    "customcontrast": customcontrast,
    "d2nwg": d2nwg,
    "d_simplex": d_simplex,
    "d_sla": d_sla,
    "deep_kernel_machines": deep_kernel_machines,
    "diffusion_classification": diffusion_classification,
    "disentanglement": disentanglement,
    "diti": diti,
    "dts": dts,
    "episode_memory": episode_memory,
    "feature_bias": feature_bias,
    "frame_averaging": frame_averaging,
    "gaunt_tensor_product": gaunt_tensor_product,
    "gcrl": gcrl,
    "geodesic_mixup": geodesic_mixup,
    "grounded_language": grounded_language,
    "hamiltonian_meta": hamiltonian_meta,
    "held_tools": held_tools,
    "i2p_mae": i2p_mae,
    "interaction_basis": interaction_basis,
    "invariance_transfer": invariance_transfer,
    "lie_decompositions": lie_decompositions,
    "madeleine": madeleine,
    "matryoshka": matryoshka,
    "mbat_vsa": mbat_vsa,
    "memory_upgrades": memory_upgrades,
    "mixed_barlow_twins": mixed_barlow_twins,
    "mmist": mmist,
    "mochi": mochi,
    "neural_cross_subject": neural_cross_subject,
    "object_evidence": object_evidence,
    "oca": oca,
    "origin_identification": origin_identification,
    "pac_invariant": pac_invariant,
    "ped": ped,
    "ponet": ponet,
    "ponita": ponita,
    "pretraining": pretraining,
    "progae": progae,
    "qlae": qlae,
    "relative_representations": relative_representations,
    "rich_representations": rich_representations,
    "scene_changes": scene_changes,
    "scene_roles": scene_roles,
    "segmentation": segmentation,
    "selection": selection,
    "shda_ktf": shda_ktf,
    "sheaf_diffusion": sheaf_diffusion,
    "sie": sie,
    "spen": spen,
    "tmi": tmi,
    "topkld": topkld,
    "tvts": tvts,
    "tvts_arm": tvts_arm,
    "upgrade": upgrade,
    "workspace_forecast": workspace_forecast,
}


@dataclass(frozen=True, slots=True)
class Arguments:
    """Run benchmarks of representation systems and print their tables.

    Attributes:
        name: of a system; all of them if left out.
        write: also store the results and write the page.
        threads: of torch.
        options: how much is done.
    """

    name: Annotated[str, tyro.conf.Positional] = "all"
    write: bool = False
    threads: int = 2
    options: Annotated[BenchOptions, tyro.conf.arg(name="")] = field(default_factory=BenchOptions)


def measure(name: str, options: BenchOptions) -> dict[str, Any]:
    """Run one benchmark; what is stored of it."""
    began = time.monotonic()
    asked = "" if options.seeds == BenchOptions().seeds else f" --seeds {options.seeds}"
    claims = BENCHMARKS[name].run(options)
    return {
        "benchmark": name,
        "command": f"python -m representation.bench {name} --write{asked}",
        "seconds": round(time.monotonic() - began, 1),
        "seeds": options.seeds,
        "scale": options.scale,
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "claims": [asdict(claim) for claim in claims],
    }


def row(content: dict[str, Any]) -> tuple[str, ...]:
    """Claim, ours, baseline, difference with interval, and whether it holds, of a stored claim."""
    claim = Claim(**content)
    mean, low, high = claim.difference()
    ours, baseline = (sum(values) / len(values) for values in (claim.ours, claim.baseline))
    return (
        claim.claim,
        f"{ours:.3f}",
        f"{baseline:.3f} ({claim.baseline_name})",
        f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]",
        _judged(claim),
    )


def _judged(claim: Claim) -> str:
    if claim.least is None:
        return "told"
    return f"{'yes' if claim.holds() else 'NO'}, wants {claim.least:+g}{' with each seed' if claim.every else ''}"


def format_text(result: dict[str, Any]) -> str:
    """Lay a result out for people."""
    head = f"{result['benchmark']}: {result['seeds']} seeds, {result['seconds']:.0f} s, scale {result['scale']:g}"
    return "\n".join([head, *("  " + " | ".join(row(claim)) for claim in result["claims"])])


def format_page(results: Sequence[dict[str, Any]], pictures: Sequence[str] = ()) -> str:
    """The page of all stored results, and of the systems by name whose pictures are drawn."""
    lines = [
        "# Representation systems",
        "",
        "What each system is said to do, measured here at small scale beside its natural baseline in the same run.",
        "Means over seeds; differences are paired by seed, with 95 % intervals by Student's t. A claim holds if the",
        "mean difference, or where it says so that of each seed, is at least the number that stands beside it; where",
        "nothing is claimed, numbers are told. Seconds are of the whole benchmark.",
        "",
        "| system | claim | ours | baseline | difference | holds | seeds | seconds | command |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        tail = (f"{result['seconds']:.0f}", f"`{result['command']}`")
        lines += [
            f"| {' | '.join((result['benchmark'], *row(claim), str(len(claim['ours'])), *tail))} |"
            for claim in result["claims"]
        ]
    machines = sorted({f"{result['cores']} cores, torch {result['torch']}" for result in results})
    lines += ["", f"Machine: {'; '.join(machines)}. `make bench-representation` runs all.", ""]
    if pictures:
        lines += ["## Pictures", "", "`python -m representation.benchmarks.pictures` draws them, seed 0.", ""]
        lines += [line for name in pictures for line in (f"`{name}`:", "", f"![{name}](pictures/{name}.png)", "")]
    return "\n".join(lines)


def write(result: dict[str, Any]) -> None:
    """Store a result and make the page anew."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{result['benchmark']}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    results = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(RESULTS.glob("*.json"))]
    pictures = [file.stem for file in sorted(PICTURES.glob("*.png"))]
    PAGE.write_text(format_page(results, pictures), encoding="utf-8")


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = tyro.cli(Arguments, args=args, prog="python -m representation.bench")
    names = list(BENCHMARKS) if arguments.name == "all" else [arguments.name]
    torch.set_num_threads(arguments.threads)
    try:
        if arguments.write and arguments.options.scale < 1:
            raise ValueError(f"--write: expected a whole benchmark, found --scale {arguments.options.scale}")
        for name in names:
            if name not in BENCHMARKS:
                raise ValueError(f"benchmark: expected one of {', '.join(BENCHMARKS)} or all, found {name!r}")
            result = measure(name, arguments.options)
            if arguments.write:
                write(result)
            print(format_text(result))
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
