"""Tell what drives a policy's actions, and write a policy whose head has no more than that.

    python -m policies.explain --policy rdt_small --dataset DIR --output OUT

asks the policy about the observations of a LeRobot dataset (of `sim.collect`, say) and takes what entered its action
head. OUT then holds `index.html` (how many directions drive the action, beside principal components; ablation curves;
parameters that matter; units that open together), `explain.json` with the numbers, `policy/` (what `load_policy`
loads: the same format and file sizes, with weights of low rank) and `low_rank.safetensors` (these weights as two
factors each). Whether the policy still does its tasks: `sim.evaluate` and `sim.compare`. See docs/explain.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from safetensors.torch import save_file

from policies.action_heads import action_heads, features, headed, replace_maps
from policies.data.recorded_observations import recorded_observations
from policies.explain_page import write_page
from policies.explanation import HeadFindings, action_difference, examine
from policies.interface import load_policy, looks_back
from policies.json_file import write_json
from policies.train_config import POLICY_DIRECTORY
from representation.data.frames import expect_empty

LOW_RANK, SUMMARY, PAGE = "low_rank.safetensors", "explain.json", "index.html"


@dataclass(frozen=True)
class ExplainOptions:
    """What is explained, and on what.

    Attributes:
        policy: name of a shipped policy, or directory: a SpatialVLA or an RDT.
        dataset: directory of a LeRobot dataset of its robot, with its cameras.
        output: directory that is made.
        tolerance: what each map's replacement may lose on held-out episodes: share of the actions' variance, or of the
            tokens that are chosen.
        held_out: share of the episodes that directions are counted on and not learned from.
        stride: frames between two observations.
        episodes: at most so many are read.
        threads: of torch.
    """

    policy: str
    dataset: Path
    output: Path
    tolerance: float = 0.01
    held_out: float = 0.25
    stride: int = 1
    episodes: int | None = None
    threads: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1 or not 0 < self.held_out < 1:
            raise ValueError(f"tolerance, held_out: expected in (0, 1), found {self.tolerance}, {self.held_out}")


def explain(options: ExplainOptions) -> dict[str, Any]:
    """Write the explanation; what `explain.json` holds.

    Raises:
        FileNotFoundError: no such policy or dataset.
        ValueError: it is neither SpatialVLA nor RDT, or the dataset is of another robot or of a single episode.
    """
    expect_empty(options.output)
    policy = load_policy(options.policy)
    heads = action_heads(policy)
    looks_back_s = 1.0 / policy.control_hz if looks_back(policy) else 0.0
    episodes = recorded_observations(options.dataset, policy.cameras, options.stride, options.episodes, looks_back_s)
    if len(episodes) < 2:
        raise ValueError(f"{options.dataset}: expected at least two episodes, one to hold out, found {len(episodes)}")
    every = max(2, round(1 / options.held_out))
    held_out, seen = episodes[::every], [one for number, one in enumerate(episodes) if number % every]
    rows, test = features(policy, seen), features(policy, held_out)
    findings = [examine(head, rows[head.name], test[head.name], options.tolerance) for head in heads]
    replaced = headed(load_policy(options.policy))
    for found in findings:
        replace_maps(replaced, found.head, found.maps)
    options.output.mkdir(parents=True, exist_ok=True)
    replaced.save_pretrained(options.output / POLICY_DIRECTORY)
    save_file(factors(findings), options.output / LOW_RANK)
    layers = [layer for found in findings for layer in found.layers]
    summary = {
        "policy": options.policy,
        "dataset": str(options.dataset),
        "episodes": [len(episodes), len(held_out)],
        "tolerance": options.tolerance,
        "head_numbers": [sum(layer.numbers[place] for layer in layers) for place in (0, 1)],
        "network_numbers": sum(one.numel() for one in replaced.model.parameters()),
        "difference": action_difference(policy, replaced, held_out),
        "heads": [told(found) for found in findings],
    }
    write_json(options.output / SUMMARY, summary)
    write_page(options.output / PAGE, f"What drives {options.policy}", summary, findings)
    return summary


def factors(findings: Sequence[HeadFindings]) -> dict[str, torch.Tensor]:
    """The low-rank maps, by head, weights and factor."""
    found = {}
    for one in findings:
        for place, maps in one.maps.items():
            for name, part in zip(("down", "up"), maps, strict=True):
                prefix = f"{one.head.name}.{one.head.weights[place]}.{name}"
                found |= {f"{prefix}.{key}": value.contiguous() for key, value in part.state_dict().items()}
    return found


def told(found: HeadFindings) -> dict[str, Any]:
    """The numbers of a head."""
    return {
        "name": found.head.name,
        "features": list(found.rows),
        "parameters": found.parameters,
        "effective_parameters": {str(cut): int((found.hessian > cut).sum()) for cut in (1e-2, 1e-4, 1e-6)},
        "synchronised_groups": None if found.synchronized is None else found.synchronized.groups,
        "modularity": None if found.modules is None else found.modules[0],
        "layers": [
            {
                "weights": layer.weights,
                "size": layer.size,
                "vary": layer.basis.rank_act,
                "drive": layer.basis.rank_grad,
                "needed": dict(layer.needed),
                "kept": layer.kept,
                "numbers": list(layer.numbers),
            }
            for layer in found.layers
        ],
    }


def main(args: Sequence[str] | None = None) -> int:
    """Explain from the command line; returns its exit code."""
    options = tyro.cli(ExplainOptions, args=args, description=__doc__)
    torch.set_num_threads(options.threads)
    try:
        summary = explain(options)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for head in summary["heads"]:
        for layer in head["layers"]:
            needed = "; ".join(f"{name} {counts}" for name, counts in layer["needed"].items())
            print(f"{head['name']}, {layer['weights']}: of {layer['size']} directions {needed}; kept {layer['kept']}")
    before, after = summary["head_numbers"]
    difference = summary["difference"]["share_of_variance"]
    print(f"head: {before} numbers, then {after}; answers differ by {difference:.3%} of their variance")
    print(f"{options.output / PAGE}, {options.output / POLICY_DIRECTORY}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
