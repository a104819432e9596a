"""What does it bring to compute the keys and values of RDT's conditions once? The same chunks, with and without.

The reference recomputes them at every step of the sampler. Compared in one process, in turns: conditions encoded at
every step, once a chunk, and once a chunk with only one camera there, so that the other images' keys and values are
constants. Processor seconds, so that other work on the machine counts less, and floating-point operations, which no
other work changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from policies.machine import describe_machine, library_versions
from policies.rdt.config import RDTConfig
from policies.rdt.image_conditions import ImageConditions
from policies.rdt.network import Conditions, RDTModel, build_model
from policies.rdt.sampling import draw_noise, sample
from policies.rdt.solver import DPMSolverPP

LANGUAGE_TOKENS, FREQUENCY = 32, 25.0
SIZES = {
    "D 512, N 8, 1176 image tokens": RDTConfig(hidden_size=512, depth=8, num_heads=8, image_grid=(2, 3, 196)),
    "D 256, N 6, 4374 image tokens": RDTConfig(hidden_size=256, depth=6, num_heads=4),
}
METHODS = ("every step", "once", "once, one camera")
# What is asked: how many times faster conditions that are encoded once make a chunk, and a single camera again.
LEAST_GAINS = {"D 512, N 8, 1176 image tokens": 1.5, "D 256, N 6, 4374 image tokens": 1.8}
LEAST_ONE_CAMERA_GAIN = 1.3
LARGEST_DIFFERENCE = 1e-6


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What is measured.

    Attributes:
        repetitions: chunks of each method, in turns.
        seeds: weights and inputs are drawn anew for each.
        sampler_steps: steps of the sampler.
        threads: of torch on the CPU; waiting threads cost processor seconds, so one is the clearest.
    """

    repetitions: int = 5
    seeds: int = 3
    sampler_steps: int = 5
    threads: int = 1


class Case:
    """One network with the inputs of one chunk.

    Args:
        config: sizes of the network.
        seed: of weights and inputs.
        sampler_steps: steps of the sampler.
    """

    def __init__(self, config: RDTConfig, seed: int, sampler_steps: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.model = _shaken(build_model(config, seed), generator)
        self.language = torch.randn(1, LANGUAGE_TOKENS, config.lang_token_dim, generator=generator)
        self.images = torch.randn(6, config.image_grid[2], config.img_token_dim, generator=generator)
        background = torch.randn(config.image_grid[2], config.img_token_dim, generator=generator)
        self.mask = torch.zeros(config.action_dim)
        self.mask[:14] = 1
        self.state = torch.randn(1, config.action_dim, generator=generator) * self.mask
        self.noise = draw_noise(self.model, 1, generator)
        self.frequency = torch.tensor([FREQUENCY])
        self.solver = DPMSolverPP(sampler_steps)
        self.image_conditions = ImageConditions(self.model, background)
        self.one_camera = [self.images[0], None, None, self.images[3], None, None]

    def encode(self, images: list[Tensor | None]) -> Conditions:
        """Conditions of one chunk."""
        return Conditions(self.model.encode_language(self.language), self.image_conditions.encode(images))

    def chunk(self, method: str) -> Tensor:
        """Draw a chunk (1, T, 128) by one of `METHODS`."""
        if method == "once, one camera":
            return self._sampled(self.model, self.encode(self.one_camera))
        if method == "once":
            return self._sampled(self.model, self.encode(list(self.images)))
        return self._sampled(_EncodesEveryStep(self), None)

    def _sampled(self, model: Any, conditions: Conditions | None) -> Tensor:
        return sample(model, conditions, self.state, self.mask, self.frequency, self.noise, self.solver)


class _EncodesEveryStep:
    """Stands for a network that computes its conditions in every forward pass."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.config = case.model.config

    def __call__(self, state: Tensor, noisy: Tensor, mask: Tensor, steps: Tensor, hz: Tensor, _: None) -> Tensor:
        return self.case.model(state, noisy, mask, steps, hz, self.case.encode(list(self.case.images)))


@torch.no_grad()
def _shaken(model: RDTModel, generator: torch.Generator) -> RDTModel:
    """Leave no weight at zero, or the head would hide every difference."""
    for parameter in model.parameters():
        parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@torch.no_grad()
def measure(config: RDTConfig, seed: int, settings: CacheSettings) -> dict[str, Any]:
    """Least processor seconds and operations of each method, and the largest difference between the first two."""
    case = Case(config, seed, settings.sampler_steps)
    chunks = {method: case.chunk(method) for method in METHODS}
    seconds = {method: [] for method in METHODS}
    for _ in range(settings.repetitions):
        for method in METHODS:
            seconds[method].append(_processor_seconds(lambda method=method: case.chunk(method)))
    return {
        "seconds": {method: min(found) for method, found in seconds.items()},
        "operations": {method: _operations(lambda method=method: case.chunk(method)) for method in METHODS},
        "difference": float((chunks["every step"] - chunks["once"]).abs().max()),
    }


def run(settings: CacheSettings, sizes: Mapping[str, RDTConfig] = SIZES) -> dict[str, Any]:
    """Measure every size with every seed."""
    torch.set_num_threads(settings.threads)
    cases = [(name, config, seed) for name, config in sizes.items() for seed in range(settings.seeds)]
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in sizes}
    for name, config, seed in tqdm(cases, "condition_cache", unit="case"):
        results[name].append(measure(config, seed, settings))
    return {
        "settings": asdict(settings),
        "machine": describe_machine(),
        "libraries": library_versions(),
        "results": results,
    }


def _processor_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _operations(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def claims(results: Mapping[str, list[dict[str, Any]]]) -> dict[str, bool]:
    """What is asked, with what was found in processor seconds, and whether it holds for every seed."""
    found: dict[str, bool] = {}
    for size, rows in results.items():
        seconds = [row["seconds"] for row in rows]
        gain = min(row["every step"] / row["once"] for row in seconds)
        more = min(row["once"] / row["once, one camera"] for row in seconds)
        worst = max(row["difference"] for row in rows)
        if size in LEAST_GAINS:
            found[f"{size}: once at least {LEAST_GAINS[size]:g} times as fast: {gain:.2f}"] = gain >= LEAST_GAINS[size]
        text = f"{size}: one camera at least {LEAST_ONE_CAMERA_GAIN:g} times as fast again: {more:.2f}"
        found[text] = more >= LEAST_ONE_CAMERA_GAIN
        found[f"{size}: difference at most {LARGEST_DIFFERENCE:g}: {worst:.1e}"] = worst <= LARGEST_DIFFERENCE
    return found


def format_text(result: Mapping[str, Any]) -> str:
    """Lay a result out for people."""
    settings, machine = result["settings"], result["machine"]
    lines = [
        f"{settings['sampler_steps']} sampler steps, {LANGUAGE_TOKENS} language tokens, float32, "
        f"{settings['threads']} thread; least of {settings['repetitions']} chunks, in turns",
        f"{'conditions encoded':<20}{'seed':>5}{'CPU seconds':>13}{'ratio':>8}{'GFLOP':>9}{'ratio':>8}",
    ]
    for size, found in result["results"].items():
        lines.append(size)
        for seed, row in enumerate(found):
            for method in METHODS:
                time_ratio = row["seconds"]["every step"] / row["seconds"][method]
                work_ratio = row["operations"]["every step"] / row["operations"][method]
                lines.append(
                    f"  {method:<18}{seed:>5}{row['seconds'][method]:>13.3f}{time_ratio:>8.2f}"
                    f"{row['operations'][method] / 1e9:>9.2f}{work_ratio:>8.2f}"
                )
    lines += [f"{'yes' if holds else 'NO':<4}{claim}" for claim, holds in claims(result["results"]).items()]
    lines.append(f"{machine['cpu']}, {machine['cores']} cores, {machine['accelerator'] or 'no GPU'}")
    return "\n".join(lines)


def format_markdown(result: Mapping[str, Any]) -> str:
    """Lay a result out as a page."""
    what = (
        "Keys and values of RDT's conditions computed at every step of the sampler, as the reference does, or once.\n"
        "Lines with `yes` and `NO` tell what is asked, and whether it holds for every seed, by the least ratio of CPU\n"
        "seconds."
    )
    again = "Run it again with `python -m policies.bench condition_cache --write`."
    return f"# Conditions computed once\n\n{what}\n\n```\n{format_text(result)}\n```\n\n{again}\n"
