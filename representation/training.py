"""`TrainingLoop`: optimizer steps to the end of a budget, with averaged weights, metrics, and exact resumption.

What is trained is a `Learner`: it has the data, the network and the objective, of a policy (`policies.train`) or of an
encoder (`representation.pretrain`).

On several GPUs a training command runs under accelerate:

    accelerate launch --multi_gpu --num_processes 4 -m MODULE ...

A small network also trains faster in a process per core than in one process with as many threads:

    torchrun --nproc_per_node 2 -m MODULE --threads 1 --mixed-precision bf16 ...
"""

from __future__ import annotations

import copy
import json
import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from representation.data.batches import BatchOrder
from representation.metrics_log import MetricsLog
from representation.training_state import (
    STATE_FILE,
    AverageSchedule,
    Progress,
    decay_after,
    load_state,
    save_state,
    update_average,
)

CONFIG_FILE = "train_config.json"
# How long the other processes wait for the one that decodes the videos.
DECODING_LIMIT = timedelta(hours=6)
RELEASE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How a run goes, whatever it trains.

    The defaults are for small models that start afresh. Large ones that are fine-tuned want smaller steps and longer
    means of the gradients; docs/rdt.md and docs/spatialvla.md have the published recipes as arguments.

    Attributes:
        output: directory of the run.
        steps: optimizer steps.
        max_minutes: wall time; the learning rate follows whichever of steps and time is further along.
        batch_size: frames per forward pass and device.
        accumulation: forward passes per optimizer step.
        lr: peak learning rate.
        lr_schedule: how the learning rate falls after the warm-up.
        final_lr: share of the peak learning rate at the end; 1 keeps it constant.
        warmup_steps: steps of linear warm-up.
        weight_decay: of AdamW, on matrices only, or on what a system says.
        betas: of AdamW, weights of the past in the means of the gradient and of its square.
        clip_norm: largest norm of the gradient.
        average_decay: largest decay of the moving average of the weights, which is what is saved at last.
        average_schedule: how the decay rises to it, see `AverageSchedule`; RDT was released with "power" and 0.9999.
        validation_episodes: episodes held out, over all datasets.
        validation_frames: at most so many of their frames are measured.
        validate_every: steps between measurements.
        log_every: steps between lines of metrics.
        save_every: steps between saves.
        save_minutes: minutes between saves.
        threads: threads of torch on the CPU.
        seed: of weights, order of the data, augmentation and choice of held-out episodes.
        mixed_precision: "auto" is bf16 on a GPU and none on a CPU.
        compile: compile the forward and backward pass, which takes a minute at the start and a C++ compiler.
        resume: continue the run in `output`.
    """

    output: Path
    steps: int = 20_000
    max_minutes: float = math.inf
    batch_size: int = 64
    accumulation: int = 1
    lr: float = 1e-3
    lr_schedule: Literal["cosine", "linear"] = "cosine"
    final_lr: float = 0.02
    warmup_steps: int = 300
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 1.0
    average_decay: float = 0.999
    average_schedule: AverageSchedule = "ratio"
    validation_episodes: int = 40
    validation_frames: int = 512
    validate_every: int = 1000
    log_every: int = 20
    save_every: int = 2000
    save_minutes: float = 10.0
    threads: int = 2
    seed: int = 0
    mixed_precision: Literal["auto", "no", "bf16"] = "auto"
    compile: bool = False
    resume: bool = False


class Learner(Protocol):
    """What a run trains.

    Attributes:
        product: name of the directory in the run's that `save` fills: "policy" or "encoder".
        model: the network with its first weights; its forward pass is what is distributed over processes.
        training: (N,) numbers of the training frames.
        weights: (N,) chance of each of them of being drawn; None to visit all of them alike.
        held_out: (M,) numbers of the frames that `validate` measures.
    """

    product: str
    model: nn.Module
    training: NDArray[np.int64]
    weights: NDArray[np.float64] | None
    held_out: NDArray[np.int64]

    def batch(self, frames: NDArray[np.int64], generator: torch.Generator) -> Mapping[str, Tensor]:
        """Arguments of `loss` for some frames; all that is random comes from a CPU generator."""
        ...

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean loss of a batch by the model, which may be wrapped for several processes."""
        ...

    def validate(self, model: nn.Module, batch_size: int) -> dict[str, float]:
        """Measure a model in evaluation mode on the held-out frames; `loss` is among the measures."""
        ...

    def save(self, model: nn.Module, directory: Path, device: str) -> None:
        """Write what a model is for into a new directory."""
        ...


def new_accelerator(config: LoopConfig) -> Accelerator:
    """The processes of a run; made before its data, which is decoded once per machine."""
    precision = config.mixed_precision
    if precision == "auto":
        precision = "bf16" if torch.cuda.is_available() else "no"
    return Accelerator(
        cpu=not torch.accelerator.is_available(),  # else processes without one take themselves for single ones
        mixed_precision=precision,
        gradient_accumulation_steps=config.accumulation,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=DECODING_LIMIT)],
    )


def learning_rate(config: LoopConfig, progress: Progress) -> float:
    """Warm-up, times a cosine or a line over the share of steps or of time that is done, whichever is larger."""
    warmup = min(1.0, (progress.step + 1) / max(1, config.warmup_steps))
    done = done_share(config, progress)
    left = 1 - done if config.lr_schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return config.lr * warmup * (config.final_lr + (1 - config.final_lr) * left)


def done_share(config: LoopConfig, progress: Progress) -> float:
    """Share of the run that is done, in [0, 1]."""
    return min(1.0, max(progress.step / config.steps, progress.elapsed_s / (60 * config.max_minutes)))


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """What is trained, with weight decay on matrices only, or on what the model's `param_groups` names."""
    if hasattr(model, "param_groups"):
        return model.param_groups(weight_decay)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim >= 2]
    others = [parameter for parameter in trained if parameter.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def build_optimizer(model: nn.Module, config: LoopConfig) -> torch.optim.AdamW:
    """AdamW over what is trained, see `decay_groups`."""
    return torch.optim.AdamW(decay_groups(model, config.weight_decay), lr=config.lr, betas=config.betas)


class TrainingLoop:
    """A training run: model, average, optimizer and their files.

    Args:
        config: the arguments.
        learner: what is trained.
        accelerator: from `new_accelerator`.
    """

    def __init__(self, config: LoopConfig, learner: Learner, accelerator: Accelerator) -> None:
        self.config, self.output = config, config.output
        self.learner, self.accelerator = learner, accelerator
        self.is_main = accelerator.is_main_process
        self.average = copy.deepcopy(learner.model).to(accelerator.device).eval()
        if config.compile:
            learner.model.compile()
        self.model, self.optimizer = accelerator.prepare(learner.model, build_optimizer(learner.model, config))
        self.bare_model = accelerator.unwrap_model(self.model)
        self.progress = Progress()
        if config.resume:
            self.progress = load_state(
                self.output / STATE_FILE, self.bare_model, self.average, self.optimizer.optimizer
            )
        if self.is_main:
            self.log = MetricsLog(self.output, self.progress.step)

    def loss_backward(self, order: BatchOrder, micro_step: int) -> tuple[float, float]:
        """One forward and backward pass and, at the end of an accumulation, one step; loss and seconds for the data."""
        began = time.perf_counter()
        number = micro_step * self.accelerator.num_processes + self.accelerator.process_index
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + number)
        batch = self.learner.batch(order[number], generator)
        batch = {name: value.to(self.accelerator.device, non_blocking=True) for name, value in batch.items()}
        data_s = time.perf_counter() - began
        with self.accelerator.accumulate(self.model):
            loss = self.learner.loss(self.model, batch)
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return loss.item(), data_s

    def train(self) -> None:
        """Run to the end of the steps or of the time."""
        config, began = self.config, time.monotonic() - self.progress.elapsed_s
        order = BatchOrder(self.learner.training, config.batch_size, config.seed, self.learner.weights)
        bar = tqdm(total=config.steps, initial=self.progress.step, unit="step", disable=not self.is_main)
        saved_s, recent, data_s, window = time.monotonic(), [], 0.0, time.perf_counter()
        with bar:
            while done_share(config, self.progress) < 1:
                step, lr = self.progress.step, learning_rate(config, self.progress)
                for group in self.optimizer.param_groups:
                    group["lr"] = lr
                for pass_number in range(config.accumulation):
                    loss, seconds = self.loss_backward(order, step * config.accumulation + pass_number)
                    recent.append(loss)
                    data_s += seconds
                decay = decay_after(step, config.average_decay, config.average_schedule)
                update_average(self.average, self.bare_model, decay)
                self.progress = Progress(step + 1, self._shared(time.monotonic() - began))
                is_last = done_share(config, self.progress) >= 1
                bar.update()
                if self.is_main and (is_last or (step + 1) % config.log_every == 0):
                    wall, window = time.perf_counter() - window, time.perf_counter()
                    frames = len(recent) * config.batch_size * self.accelerator.num_processes
                    self._log(lr, float(np.mean(recent)), data_s / wall, frames / wall)
                    bar.set_postfix(loss=f"{np.mean(recent):.3f}")
                    recent, data_s = [], 0.0
                if self.is_main and len(self.learner.held_out) and (is_last or (step + 1) % config.validate_every == 0):
                    self._validate()
                late = time.monotonic() - saved_s > 60 * config.save_minutes
                if self.is_main and (is_last or late or (step + 1) % config.save_every == 0):
                    self.save()
                    saved_s = time.monotonic()

    def save(self) -> None:
        """Write the product, then the state that resumes from it, and the picture."""
        directory = self.output / self.learner.product
        part = directory.with_name(directory.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        self.learner.save(self.average, part, str(self.accelerator.device))
        (part / CONFIG_FILE).write_text(json.dumps(asdict(self.config), indent=2, default=str) + "\n")
        for file in sorted(path for path in part.rglob("*") if path.is_file()):
            place = directory / file.relative_to(part)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
        shutil.rmtree(part)
        save_state(self.output / STATE_FILE, self.bare_model, self.average, self.optimizer.optimizer, self.progress)
        self.log.draw()

    def _log(self, lr: float, loss: float, data_share: float, frames_per_s: float) -> None:
        row = {"step": self.progress.step, "elapsed_s": round(self.progress.elapsed_s, 1), "lr": lr, "loss": loss}
        self.log.write(row | {"data_share": round(data_share, 4), "frames_per_s": round(frames_per_s, 1)})

    def _validate(self) -> None:
        metrics = self.learner.validate(self.average, self.config.batch_size)
        self.log.write({"step": self.progress.step} | {f"validation/{name}": v for name, v in metrics.items()})

    def _shared(self, value: float) -> float:
        """The main process's value: all processes must agree on when the time is over."""
        if self.accelerator.num_processes == 1:
            return value
        values = [value]
        broadcast_object_list(values)
        return values[0]

    def end(self) -> None:
        """Leave the group of processes."""
        # A process that ends while another still saves would tear down the group under it.
        self.accelerator.wait_for_everyone()
        if self.accelerator.num_processes > 1:
            # Threads of gloo need the interpreter to let go of the last tensors. The destructor of their group would
            # hold it and wait for them for ever, and nothing tells when they are done.
            time.sleep(RELEASE_S)
        self.accelerator.end_training()


def check_output(config: LoopConfig) -> None:
    """Refuse to mix two runs.

    Raises:
        ValueError: `output` holds a run although `resume` is not set, or none although it is.
    """
    state = config.output / STATE_FILE
    if config.resume and not state.exists():
        raise ValueError(f"--resume: expected a saved run in {config.output}, found no {STATE_FILE}")
    if state.exists() and not config.resume:
        raise ValueError(
            f"--output: expected an unused directory, found a run in {config.output}; continue it with --resume"
        )
