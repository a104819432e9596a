"""Fit a policy into fewer bits: `python -m policies.compress --policy NAME --dataset DIR --output RUN`.

Tries number formats on the linear maps of a trained policy, rounded to the nearest number and by GPTQ, and measures on
held-out episodes of a dataset what each costs. The best format within a budget (`--budget-mb`), or else the smallest
one whose error is within `--tolerance` of the whole policy's, becomes `RUN/policy`, which `load_policy` loads. With
`--distill-steps` it is trained to answer like the whole policy first: a SpatialVLA policy's tokens by TopKLD, an RDT
policy's chunks by their squared distance.

RUN also holds `table.json`, what was tried, and `quality.png`, the error over the bits.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from policies.json_file import write_json
from policies.loading import find_policy
from policies.rdt.learner import SAMPLE_MSE
from policies.spatialvla.model import IGNORED_LABEL
from policies.stored_learner import kind_of, stored_learner
from policies.train_config import POLICY_DIRECTORY
from representation.compression.topkld import (
    KEPT,
    FakeQuantizedLinear,
    Format,
    Inputs,
    IntFormat,
    distill,
    fake_quantize,
    fit_scaling,
    format_named,
    forward_kld,
    gptq_by_hessian,
    linear_maps,
    model_bits,
    observe_inputs,
    packed,
    quantize,
    reverse_kld,
    smooth,
    topkld,
)
from representation.data.batches import BatchOrder

Rounding = Literal["nearest", "gptq"]
LossName = Literal["topkld", "forward", "reverse"]
TABLE_FILE, PICTURE_FILE = "table.json", "quality.png"
BITS_OF_A_MEGABYTE = 8e6


@dataclass(frozen=True)
class Family:
    """What differs between kinds of policies.

    Attributes:
        skip: words in names of linear maps that stay whole: tables, norms, heads, what tells the sizes of a network,
            and encoders that have files of their own.
        error: the measure on held-out episodes by which formats are compared.
        answer: what a student is to imitate, of the learner, a network and a batch.
    """

    skip: tuple[str, ...]
    error: str
    answer: Callable[[Any, nn.Module, Mapping[str, Tensor]], Tensor]


FAMILIES = {
    "spatialvla": Family(
        (*KEPT, "vision_zoe_model", "state_encoder"),
        "loss",
        lambda learner, model, batch: model(**batch).logits,
    ),
    "rdt": Family(
        (*KEPT, "adaptor", "final_layer", "tower", "text"),
        SAMPLE_MSE,
        lambda learner, model, batch: learner.predict(model, batch),
    ),
}


@dataclass(frozen=True, kw_only=True)
class CompressConfig:
    """What is tried, and what is chosen.

    Attributes:
        policy: name of a shipped policy, or a directory.
        dataset: directories of demonstrations; some episodes are measured on, others calibrate and teach.
        output: directory of the run.
        formats: names of number formats of the weights, see `representation.compression.topkld.format_named`.
        roundings: nearest, gptq or both.
        activations: format of integers that inputs of the maps are rounded to, such as int8; none leaves them.
        smooth: with activations, move their outliers into the weights first.
        budget_mb: megabytes that network and scales may take, 16 bits for each number that is not packed; 0 for none.
        tolerance: without a budget, share by which the error may grow.
        distill_steps: steps of training of the chosen format; 0 for none.
        loss: of the distillation of tokens.
        explicit_share: k of TopKLD, as a share of the classes.
        lr: of the distillation.
        calibration_frames: for GPTQ and smoothing.
        validation_episodes: episodes that are measured on, over all datasets.
        validation_frames: at most so many of their frames.
        batch_size: frames at a time.
        threads: of torch.
        seed: of all that is drawn.
    """

    policy: str
    dataset: tuple[Path, ...]
    output: Path
    formats: tuple[str, ...] = ("int8", "e4m3", "int4g32", "int4", "e2m1", "int3g32", "int3", "int2g32")
    roundings: tuple[Rounding, ...] = ("nearest", "gptq")
    activations: str = ""
    smooth: bool = False
    budget_mb: float = 0.0
    tolerance: float = 0.02
    distill_steps: int = 0
    loss: LossName = "topkld"
    explicit_share: float = 0.2
    lr: float = 3e-4
    calibration_frames: int = 256
    validation_episodes: int = 8
    validation_frames: int = 256
    batch_size: int = 32
    threads: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.formats or not self.roundings or self.budget_mb < 0 or self.tolerance < 0:
            raise ValueError(
                "formats, roundings, budget_mb, tolerance: expected some of each and nothing negative, found "
                f"{self.formats}, {self.roundings}, {self.budget_mb}, {self.tolerance}"
            )
        if not 0 < self.explicit_share <= 1:
            raise ValueError(f"explicit_share: expected in (0, 1], found {self.explicit_share}")
        if self.smooth and not self.activations:
            raise ValueError("smooth: expected a format of activations, found none")


@dataclass(frozen=True)
class Trial:
    """One way to write the policy's numbers.

    Attributes:
        format: name of the weights' format, or "whole".
        rounding: how weights were rounded: nearest, gptq or distilled; empty for the whole policy.
        bits: of network and scales, 16 for each number that is not packed.
        error: see `Family.error`.
        measures: all that the policy's validation measures.
    """

    format: str
    rounding: str
    bits: int
    error: float
    measures: dict[str, float]


class Compression:
    """A policy with its data, and the ways to write it.

    Args:
        config: the arguments.

    Raises:
        FileNotFoundError: no such policy.
        ValueError: a policy of another kind, one that is packed already, or data that do not fit it.
    """

    def __init__(self, config: CompressConfig) -> None:
        self.config = config
        directory = find_policy(config.policy)
        self.family = FAMILIES[kind_of(directory)]
        self.activations = _activations(config.activations)
        self.learner, accelerator = stored_learner(
            directory,
            config.dataset,
            config.output,
            config.batch_size,
            config.validation_episodes,
            config.validation_frames,
            config.threads,
            config.seed,
        )
        self.device = accelerator.device
        self.teacher: nn.Module = self.learner.model.to(self.device).eval()
        self.maps = linear_maps(self.teacher, self.family.skip)

    def measured(self, model: nn.Module, format: str, rounding: str) -> Trial:
        """What a network costs and how it does."""
        measures = self.learner.validate(model.eval(), self.config.batch_size)
        return Trial(format, rounding, model_bits(model), measures[self.family.error], measures)

    def batches(self, purpose: int) -> Iterator[dict[str, Tensor]]:
        """Training batches without end; other purposes see others."""
        order = BatchOrder(self.learner.training, self.config.batch_size, self.config.seed + purpose)
        number = 0
        while True:
            generator = torch.Generator().manual_seed((self.config.seed + purpose) * 1_000_003 + number)
            batch = self.learner.batch(order[number], generator)
            yield {name: value.to(self.device) for name, value in batch.items()}
            number += 1

    def observed(self) -> dict[str, Inputs]:
        """What comes into the maps on calibration frames."""
        count = -(-self.config.calibration_frames // self.config.batch_size)
        batches = self.batches(purpose=1)

        def run() -> None:
            for _ in range(count):
                self.learner.loss(self.teacher, next(batches))

        return observe_inputs(self.maps, run)

    def packed(self, format: Format, rounding: Rounding, inputs: Mapping[str, Inputs]) -> nn.Module:
        """The network with packed weights."""
        weights, factors = {}, {}
        for name, linear in self.maps.items():
            hessian = inputs[name].hessian if rounding == "gptq" else None
            if self.config.smooth:
                linear, factors[name] = smooth(linear, inputs[name].largest)
                if hessian is not None:
                    hessian = hessian / factors[name] / factors[name][:, None]
            weights[name] = (
                quantize(linear.weight, format) if hessian is None else gptq_by_hessian(linear, hessian, format)
            )
        return packed(self.teacher, weights, self.activations, factors)

    def distilled(self, format: Format) -> nn.Module:
        """The network with packed weights, after it learned to answer like the whole one."""
        student = fake_quantize(self.teacher, format, self.activations, self.family.skip).requires_grad_(False)
        parts = {name: part for name, part in student.named_modules() if isinstance(part, FakeQuantizedLinear)}
        for part in parts.values():
            part.requires_grad_(True)
        config = self.config
        distill(
            student,
            self.teacher,
            self.batches(purpose=2),
            self._loss,
            config.lr,
            config.distill_steps,
            partial(self.family.answer, self.learner),
            progress=True,
        )
        return packed(student, {name: part.quantized for name, part in parts.items()}, self.activations)

    def _loss(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        if "labels" not in batch:
            return (student - teacher).square().mean()
        labels = batch["labels"][:, batch["labels"].shape[1] - teacher.shape[1] + 1 :]
        counts, ours, theirs = labels != IGNORED_LABEL, student[:, :-1], teacher[:, :-1]
        if self.config.loss == "forward":
            return forward_kld(ours, theirs, counts)
        if self.config.loss == "reverse":
            return reverse_kld(ours, theirs, counts)
        return topkld(ours, theirs, max(1, round(self.config.explicit_share * ours.shape[-1])), mask=counts)


def choose(trials: Sequence[Trial], whole: Trial, budget_mb: float, tolerance: float) -> Trial:
    """The trial of least error within a budget, or, without one, the smallest whose error is within a tolerance.

    Raises:
        ValueError: none is; tells the nearest.
    """
    if budget_mb:
        fitting = [trial for trial in trials if trial.bits <= budget_mb * BITS_OF_A_MEGABYTE]
        if not fitting:
            least = min(trials, key=lambda trial: trial.bits)
            raise ValueError(
                f"--budget-mb: expected at least {least.bits / BITS_OF_A_MEGABYTE:.3f}, what {least.format} takes, "
                f"found {budget_mb}"
            )
        return min(fitting, key=lambda trial: trial.error)
    fitting = [trial for trial in trials if trial.error <= (1 + tolerance) * whole.error]
    if not fitting:
        best = min(trials, key=lambda trial: trial.error)
        raise ValueError(
            f"--tolerance: expected at least {best.error / whole.error - 1:.3f}, by which the error of {best.format} "
            f"grows, found {tolerance}"
        )
    return min(fitting, key=lambda trial: (trial.bits, trial.error))


def compress(config: CompressConfig) -> tuple[list[Trial], Trial]:
    """Try, choose, distil and write.

    Returns:
        All trials, the whole policy's first, and that of the policy that was written.

    Raises:
        ValueError: see `Compression` and `choose`.
    """
    formats = {name: format_named(name) for name in config.formats}
    torch.set_num_threads(config.threads)
    config.output.mkdir(parents=True, exist_ok=True)
    work = Compression(config)
    whole = work.measured(work.teacher, "whole", "")
    inputs = work.observed() if config.smooth or "gptq" in config.roundings else {}
    trials = [whole]
    for name, format in formats.items():
        for rounding in config.roundings:
            trials.append(work.measured(work.packed(format, rounding, inputs), name, rounding))
            print(line(trials[-1], whole))
    chosen = choose(trials[1:], whole, config.budget_mb, config.tolerance)
    format = formats[chosen.format]
    model: nn.Module | None = None
    if config.distill_steps:
        distilled = work.distilled(format)
        trials.append(work.measured(distilled, chosen.format, "distilled"))
        print(line(trials[-1], whole))
        if trials[-1].error < chosen.error:
            model, chosen = distilled, trials[-1]
    if model is None:
        model = work.packed(format, "gptq" if chosen.rounding == "gptq" else "nearest", inputs)
    work.learner.save(model, config.output / POLICY_DIRECTORY, str(work.device))
    report(config, trials, chosen)
    return trials, chosen


def line(trial: Trial, whole: Trial) -> str:
    """A trial in words."""
    megabytes = trial.bits / BITS_OF_A_MEGABYTE
    return (
        f"{trial.format:<10}{trial.rounding:<11}{megabytes:>9.3f} MB {trial.bits / whole.bits:>7.3f} of the bits   "
        f"error {trial.error:.5f} ({trial.error / whole.error - 1:+.2%})"
    )


def report(config: CompressConfig, trials: Sequence[Trial], chosen: Trial) -> None:
    """Write `table.json` and `quality.png`."""
    packed_trials = [trial for trial in trials if trial.rounding]
    laws = {}
    for rounding in config.roundings:
        own = [trial for trial in packed_trials if trial.rounding == rounding]
        if len({trial.bits for trial in own}) > 1:
            laws[rounding] = fit_scaling([trial.bits for trial in own], [trial.error for trial in own])._asdict()
    content = {
        "config": json.loads(json.dumps(asdict(config), default=str)),
        "trials": [asdict(trial) for trial in trials],
        "chosen": {"format": chosen.format, "rounding": chosen.rounding},
        "error_over_log10_bits": laws,
    }
    write_json(config.output / TABLE_FILE, content)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for kind in dict.fromkeys(trial.rounding for trial in packed_trials):
        points = sorted((t.bits / BITS_OF_A_MEGABYTE, t.error) for t in packed_trials if t.rounding == kind)
        axes.plot(*np.transpose(points), "o-", label=kind)
    axes.axhline(trials[0].error, color="black", linewidth=0.8, label="whole policy")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("megabytes of network and scales")
    axes.set_ylabel("error on held-out episodes")
    axes.legend()
    figure.savefig(config.output / PICTURE_FILE, dpi=120)


def _activations(name: str) -> IntFormat | None:
    format = format_named(name) if name else None
    if format is not None and not isinstance(format, IntFormat):
        raise ValueError(f"--activations: expected integers such as int8, found {name}")
    return format


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    config = tyro.cli(CompressConfig, args=args, description=__doc__)
    try:
        _, chosen = compress(config)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"chosen: {chosen.format}, {chosen.rounding}; written to {config.output / POLICY_DIRECTORY}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
