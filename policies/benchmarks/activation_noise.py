"""How much do actions change with noise in a network's activations, where they are tokens and where they are diffused?

TopKLD (arXiv 2501.06218) explains so why models of tokens bear fewer bits: small noise in the logits leaves the most
likely token what it was, whereas a sampler takes the noise of each of its steps into its answer. Here the noise comes
into the linear maps that `policies.compress` packs, in every pass of the network. Policies answer recorded
observations, each as the first of its episode and with the same draws of their own; what a chunk says is taken as the
way from where the arm was seen, and changes of it are told in units of how much that differs between observations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from policies.compress import FAMILIES
from policies.data.recorded_observations import recorded_observations
from policies.interface import ActionChunk, Observation, Policy, load_policy
from policies.loading import find_policy
from policies.machine import describe_machine, library_versions
from policies.stored_learner import kind_of
from representation.compression.topkld import linear_maps, noisy_inputs

OTHER_DRAW = "other draw"
LEAST_SPREAD = 1e-9  # rad, m
STEPS_OF_AN_ARM = 6  # numbers of a Cartesian row, before the gripper's opening


@dataclass(frozen=True, slots=True)
class NoiseSettings:
    """What is measured.

    Attributes:
        policies: each as NAME=DATASET, a policy and a directory of demonstrations that it answers.
        sizes: of the noise, standard deviation over the root mean square of a token's numbers.
        observations: of each dataset, evenly over its first episodes.
        episodes: that observations are taken from.
        seeds: of the noise.
        threads: of torch.
    """

    policies: tuple[str, ...] = ("spatialvla_small=runs/demonstrations", "rdt_small=runs/sort")
    sizes: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3)
    observations: int = 30
    episodes: int = 8
    seeds: int = 3
    threads: int = 1

    def __post_init__(self) -> None:
        if self.observations < 2 or self.episodes < 1 or self.seeds < 1 or min(self.sizes, default=0.0) <= 0:
            raise ValueError(
                "observations, episodes, seeds, sizes: expected from 2, 1, 1 and above 0, found "
                f"{self.observations}, {self.episodes}, {self.seeds} and {self.sizes}"
            )

    def named(self) -> dict[str, Path]:
        """Datasets by the name of the policy.

        Raises:
            ValueError: none, or one without a dataset.
        """
        parts = [policy.partition("=") for policy in self.policies]
        if not parts or not all(name and dataset for name, _, dataset in parts):
            raise ValueError(f"policies: expected some as NAME=DATASET, found {' '.join(self.policies) or 'none'}")
        return {name: Path(dataset) for name, _, dataset in parts}


def run(settings: NoiseSettings) -> dict[str, Any]:
    """Measure all policies.

    Returns:
        `settings`, `machine`, `libraries`, and in `results` by policy and size of the noise (and, of a policy that
        draws, `OTHER_DRAW`: without noise, but for other draws of its own) `change`, the root mean square of the
        change over how ways differ, `median`, the middle one of single answers, and `same`, the share of all numbers
        that are as without noise; a list each, by seed.

    Raises:
        ValueError: see `NoiseSettings.named`, `recorded_observations` and `kind_of`.
        FileNotFoundError: no such policy or dataset.
    """
    torch.set_num_threads(settings.threads)
    return {
        "settings": asdict(settings),
        "machine": describe_machine(),
        "libraries": library_versions(),
        "results": {name: measured(name, dataset, settings) for name, dataset in settings.named().items()},
    }


def measured(name: str, dataset: Path, settings: NoiseSettings) -> dict[str, dict[str, list[float]]]:
    """Changes of one policy's answers; see `run`."""
    whole = load_policy(name)
    found = [one for own in recorded_observations(dataset, whole.cameras, most=settings.episodes) for one in own]
    rows = np.linspace(0, len(found) - 1, min(settings.observations, len(found))).round().astype(int)
    observations = [found[row] for row in rows]
    without, results = ways(whole, observations, 0), {}
    other = ways(whole, observations, 1)
    if not np.array_equal(other, without):
        results[OTHER_DRAW] = compared([other], without)
    skip = FAMILIES[kind_of(find_policy(name))].skip
    trials = [(size, seed) for size in settings.sizes for seed in range(settings.seeds)]
    answers: dict[float, list[NDArray[np.float64]]] = {size: [] for size in settings.sizes}
    for size, seed in tqdm(trials, name, unit="trial"):
        policy: Any = load_policy(name)  # what it keeps of instructions has no noise of other trials in it
        maps = linear_maps(policy.model, skip).values()
        noise = noisy_inputs(maps, size, torch.Generator().manual_seed(seed))
        answers[size].append(ways(policy, observations, 0, noise))
    return results | {f"{size:g}": compared(own, without) for size, own in answers.items()}


def ways(
    policy: Policy, observations: Sequence[Observation], seed: int, context: AbstractContextManager | None = None
) -> NDArray[np.float64]:
    """Answers (N, T, n) to observations as ways, see `way`; the policy draws from `seed` on at each of them."""
    found = []
    with context or nullcontext():
        for observation in observations:
            policy.reset(seed)
            found.append(way(policy.act(observation), observation))
    return np.stack(found)


def way(chunk: ActionChunk, observation: Observation) -> NDArray[np.float64]:
    """Where each row (T, n) leads from where the arm was seen, rad and m; openings of Cartesian rows as they are.

    Raises:
        ValueError: absolute poses.
    """
    if chunk.kind == "joint":
        return chunk.rows - observation.joint_positions
    if chunk.kind == "cartesian_absolute":
        raise ValueError("chunk: expected joints or Cartesian steps, found absolute poses")
    arms = chunk.rows.reshape(len(chunk.rows), -1, STEPS_OF_AN_ARM + 1).copy()
    arms[..., :STEPS_OF_AN_ARM] = arms[..., :STEPS_OF_AN_ARM].cumsum(axis=0)
    return arms.reshape(chunk.rows.shape)


def compared(answers: Sequence[NDArray[np.float64]], without: NDArray[np.float64]) -> dict[str, list[float]]:
    """Changes of ways (N, T, n) in units of their spread, and the share of numbers that are the same, by answers.

    Raises:
        ValueError: ways that do not differ.
    """
    spread = without.std(axis=0)
    moving = spread > LEAST_SPREAD
    if not moving.any():
        raise ValueError("answers: expected some that differ between observations, found them all alike")
    squares = [np.square((own - without)[:, moving] / spread[moving]).mean(axis=1) for own in answers]
    return {
        "change": [float(np.sqrt(own.mean())) for own in squares],
        "median": [float(np.sqrt(np.median(own))) for own in squares],
        "same": [float((own == without).mean()) for own in answers],
    }


def format_text(result: Mapping[str, Any]) -> str:
    """Lay a result out for people."""
    lines = [f"{'policy':<20}{'noise':>12}{'change':>10}{'least':>10}{'most':>10}{'median':>10}{'same':>10}"]
    for name, found in result["results"].items():
        for size, row in found.items():
            change = row["change"]
            lines.append(
                f"{name:<20}{size:>12}{np.mean(change):>10.4f}{min(change):>10.4f}{max(change):>10.4f}"
                f"{np.mean(row['median']):>10.4f}{np.mean(row['same']):>10.1%}"
            )
    machine = result["machine"]
    lines.append(f"{machine['cpu']}, {machine['cores']} cores, {machine['accelerator'] or 'no GPU'}")
    return "\n".join(lines)


def format_markdown(result: Mapping[str, Any]) -> str:
    """Lay a result out as a page."""
    settings = result["settings"]
    answers, seeds, policies = settings["observations"], settings["seeds"], " ".join(settings["policies"])
    return f"""# Noise in activations

Gaussian noise comes into the linear maps that `policies.compress` packs. Its size is over the root mean square of a
token's numbers. Change: root mean square over all numbers of {answers} answers, in units of how much answers differ
between observations; mean, least and most of {seeds} seeds of the noise. Median: of single answers. Same: share of
numbers that stay exactly as they were. `{OTHER_DRAW}` has no noise, but other draws of the policy's own.

```
{format_text(result)}
```

Run it again with `python -m policies.bench activation_noise --write --noise.policies {policies}`,
on demonstrations as in [compressed policies](compressed_policies.md).
"""
