"""Which norm a checkpoint was trained with: `python -m policies.rdt.score --policy DIR --dataset DIR [DIR ...]`.

The files of a released network do not tell what its norms compute, and with the other kind the same weights silently
give other chunks. This scores each kind on held-out demonstrations, with the same noise, and says which is better.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import tyro
from tqdm import tqdm

from policies.loading import find_policy
from policies.rdt.config import NormStat
from policies.rdt.learner import SAMPLE_MSE
from policies.rdt.network import set_norm_stat
from policies.stored_learner import kind_of, stored_learner


@dataclass(frozen=True)
class ScoreOptions:
    """Arguments.

    Attributes:
        policy: directory of an RDT policy, `policy.json` included, a shipped name, or a hub id.
        dataset: directories of demonstrations, as for `policies.train`, of more than `episodes` episodes.
        norm_stat: kinds to score.
        episodes: that are drawn from the demonstrations.
        steps: most steps of these that chunks are drawn for.
        batch_size: chunks at a time.
        threads: of torch.
        seed: of episodes and noise.
    """

    policy: str
    dataset: tuple[Path, ...]
    norm_stat: tuple[NormStat, ...] = ("var", "rms")
    episodes: int = 4
    steps: int = 256
    batch_size: int = 16
    threads: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.norm_stat:
            raise ValueError("norm_stat: expected var, rms or both, found none")


def score(options: ScoreOptions) -> dict[NormStat, dict[str, float]]:
    """Errors on held-out demonstrations, see `RDTLearner.validate`, with each kind of norm.

    Raises:
        FileNotFoundError: no such policy, or a part of it is missing.
        ValueError: another kind of policy, or demonstrations that do not fit it.
    """
    directory = find_policy(options.policy)
    if (kind_of_policy := kind_of(directory)) != "rdt":
        raise ValueError(f"policy {options.policy!r}: expected an RDT, found {kind_of_policy}")
    with TemporaryDirectory() as work:
        learner, accelerator = stored_learner(
            directory,
            options.dataset,
            Path(work),
            options.batch_size,
            options.episodes,
            options.steps,
            options.threads,
            options.seed,
        )
        network = learner.model.to(accelerator.device).eval()
        scores = {}
        for kind in tqdm(options.norm_stat, desc="scoring", unit="kind"):
            set_norm_stat(network.model, kind)
            scores[kind] = learner.validate(network, options.batch_size)
    return scores


def report(scores: dict[NormStat, dict[str, float]]) -> str:
    """A table of the errors, and which kind has the smaller sample MSE."""
    names = [name for name in next(iter(scores.values())) if name != "loss"]
    lines = [f"{'norm_stat':<12}" + "".join(f"{name.removeprefix('error/'):>20}" for name in names)]
    lines += [
        f"{kind:<12}" + "".join(f"{measures[name]:>20.6g}" for name in names) for kind, measures in scores.items()
    ]
    if len(scores) > 1:
        best, other = sorted(scores, key=lambda kind: scores[kind][SAMPLE_MSE])[:2]
        lines.append(
            f"{best} is better: its sample MSE is {scores[best][SAMPLE_MSE] / scores[other][SAMPLE_MSE]:.3g} of that "
            f"of {other}"
        )
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = tyro.cli(ScoreOptions, args=args, description=__doc__)
    torch.set_num_threads(options.threads)
    try:
        scores = score(options)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(report(scores))
    return 0


if __name__ == "__main__":
    sys.exit(main())
