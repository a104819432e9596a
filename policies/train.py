"""Train a policy on demonstrations.

    python -m policies.train --policy spatialvla --dataset DIR [DIR ...] --output RUN

RUN then holds `policy/` (what `load_policy` loads: averaged weights, processor, and `train_config.json`),
`metrics.jsonl`, `loss.png` and the state from which `--resume` continues exactly.

On several GPUs the same command runs under accelerate; `--batch-size` counts per GPU and `--accumulation` multiplies:

    accelerate launch --multi_gpu --num_processes 4 -m policies.train --policy spatialvla --dataset DIR --output RUN

A small network also trains faster in a process per core than in one process with as many threads:

    ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m policies.train --threads 1 --mixed-precision bf16 ...
"""

from __future__ import annotations

import copy
import json
import math
import platform
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list
from tqdm import tqdm

from policies.execution.kinematics import Kinematics
from policies.robots import get_robot
from policies.spatialvla.checkpoint import load_weights
from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.fitting import fit_processor
from policies.spatialvla.lora import LoraSettings, add_adapters, merged, save_adapters
from policies.spatialvla.model import SpatialVLAModel, build_model
from policies.spatialvla.policy import SpatialVLAPolicy
from policies.spatialvla.processor import ProcessorSettings, SpatialVLAProcessor
from policies.training_data import (
    BatchOrder,
    Columns,
    Images,
    TrainingData,
    decode_images,
    jitter_colors,
    open_datasets,
    open_images,
    read_columns,
    split_frames,
)
from policies.training_report import MetricsLog, to_device, validate
from policies.training_state import STATE_FILE, Progress, load_state, save_state, update_average
from representation.data.lerobot_dataset import LeRobotDataset

POLICY_DIRECTORY = "policy"
ADAPTERS_DIRECTORY = "adapters"
CONFIG_FILE = "train_config.json"
# How long the other processes wait for the one that decodes the videos.
DECODING_LIMIT = timedelta(hours=6)


@dataclass(frozen=True)
class TrainConfig:
    """Arguments of a training run.

    Attributes:
        dataset: directories of LeRobot datasets; held-out errors are reported by directory and task.
        output: directory of the run.
        initial: directory of a trained policy to start from. Its sizes, tokens and action bins stay, whatever `size`
            says; `camera` and `ego3d` must be its own. None starts afresh.
        policy: what to train.
        size: size of the network.
        camera: view that the policy reads.
        ego3d: add 3-D position encodings from the depth camera to the image tokens.
        steps: optimizer steps.
        max_minutes: wall time; the learning rate follows whichever of steps and time is further along.
        batch_size: frames per forward pass and device.
        accumulation: forward passes per optimizer step.
        lr: peak learning rate.
        final_lr: share of the peak learning rate at the end of the cosine.
        warmup_steps: steps of linear warm-up.
        weight_decay: of AdamW, on matrices only.
        clip_norm: largest norm of the gradient.
        average_decay: of the moving average of the weights, which is what is saved as the policy.
        jitter: strength of the random changes of brightness, contrast and colour; 0 is none.
        validation_episodes: episodes held out, over all datasets.
        validation_frames: at most so many of their frames are measured.
        validate_every: steps between measurements.
        log_every: steps between lines of metrics.
        save_every: steps between saves.
        save_minutes: minutes between saves.
        threads: threads of torch on the CPU.
        seed: of weights, order of the data, augmentation and choice of held-out episodes.
        mixed_precision: "auto" is bf16 on a GPU and none on a CPU.
        resume: continue the run in `output`.
        lora: fine-tune `initial` by adapters; the saved policy has them merged into its weights, and `adapters/`
            holds them alone.
    """

    dataset: tuple[Path, ...]
    output: Path
    initial: Path | None = None
    policy: Literal["spatialvla"] = "spatialvla"
    size: Literal["small", "tiny"] = "small"
    camera: str = "front"
    ego3d: bool = True
    steps: int = 20_000
    max_minutes: float = math.inf
    batch_size: int = 64
    accumulation: int = 1
    lr: float = 1e-3
    final_lr: float = 0.02
    warmup_steps: int = 300
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    average_decay: float = 0.999
    jitter: float = 0.3
    validation_episodes: int = 40
    validation_frames: int = 512
    validate_every: int = 1000
    log_every: int = 20
    save_every: int = 2000
    save_minutes: float = 10.0
    threads: int = 2
    seed: int = 0
    lora: LoraSettings = field(default_factory=LoraSettings)
    mixed_precision: Literal["auto", "no", "bf16"] = "auto"
    resume: bool = False


def learning_rate(config: TrainConfig, progress: Progress) -> float:
    """Warm-up, then a cosine over the share of steps or of time that is done, whichever is larger."""
    warmup = min(1.0, (progress.step + 1) / max(1, config.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * done_share(config, progress)))
    return config.lr * warmup * (config.final_lr + (1 - config.final_lr) * cosine)


def done_share(config: TrainConfig, progress: Progress) -> float:
    """Share of the run that is done, in [0, 1]."""
    return min(1.0, max(progress.step / config.steps, progress.elapsed_s / (60 * config.max_minutes)))


def prepare_processor(
    config: TrainConfig, columns: Columns, frames: np.ndarray, robot: str, fps: float
) -> SpatialVLAProcessor:
    """Fit a processor to the training frames or, when resuming or starting from a policy, load its.

    Raises:
        ValueError: the policy to start from is of another kind than the arguments and the demonstrations say.
    """
    if config.resume:
        return SpatialVLAPolicy.from_pretrained(config.output / POLICY_DIRECTORY).processor
    if config.initial is not None:
        return _processor_of(config, robot, fps)
    network = getattr(SpatialVLAConfig, config.size)(use_ego3d=config.ego3d)
    spec = get_robot(robot)
    return fit_processor(
        columns.actions[frames],
        [columns.instructions[frame] for frame in frames],
        network,
        ProcessorSettings(robot=robot, camera=config.camera, control_hz=fps),
        spec,
        Kinematics(spec).forward,
    )


def _processor_of(config: TrainConfig, robot: str, fps: float) -> SpatialVLAProcessor:
    processor = SpatialVLAPolicy.from_pretrained(config.initial).processor
    settings = processor.settings
    wanted = {"robot": robot, "control_hz": fps, "camera": config.camera, "ego3d": config.ego3d}
    found = {
        "robot": settings.robot,
        "control_hz": settings.control_hz,
        "camera": settings.camera,
        "ego3d": processor.config.use_ego3d,
    }
    if found != wanted:
        raise ValueError(f"--initial {config.initial}: expected a policy with {wanted}, found {found}")
    return processor


def load_data(config: TrainConfig, accelerator: Accelerator) -> tuple[TrainingData, np.ndarray, np.ndarray]:
    """Demonstrations at hand, and the numbers of their training and held-out frames."""
    datasets = open_datasets(config.dataset)
    robot, fps = datasets[0].info.robot_type, datasets[0].info.fps
    columns = read_columns(datasets, config.camera, Kinematics(get_robot(robot)).forward)
    generator = np.random.default_rng(config.seed)
    training, held_out = split_frames(columns, config.validation_episodes, generator)
    held_out = np.sort(generator.permutation(held_out)[: config.validation_frames])
    processor = prepare_processor(config, columns, training, robot, fps)
    images = load_images(config, accelerator, datasets, columns, processor)
    return TrainingData(columns, images, processor), training, held_out


def load_images(
    config: TrainConfig,
    accelerator: Accelerator,
    datasets: Sequence[LeRobotDataset],
    columns: Columns,
    processor: SpatialVLAProcessor,
) -> Images:
    """Decode the videos once per machine, into files that all its processes map and that go when these end."""
    directory = config.output / f"frames.{platform.node()}"
    if accelerator.is_local_main_process:
        decode_images(datasets, columns, processor, config.camera, directory, accelerator.is_main_process)
    accelerator.wait_for_everyone()
    images = open_images(directory)
    accelerator.wait_for_everyone()
    if accelerator.is_local_main_process:
        shutil.rmtree(directory)
    return images


def build_optimizer(model: SpatialVLAModel, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over what is trained, with weight decay on matrices only."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim >= 2]
    others = [parameter for parameter in trained if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.95))


class Run:
    """A training run: model, average, optimizer and their files.

    Args:
        config: the arguments.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.output = config, config.output
        precision = config.mixed_precision
        if precision == "auto":
            precision = "bf16" if torch.cuda.is_available() else "no"
        self.accelerator = Accelerator(
            mixed_precision=precision,
            gradient_accumulation_steps=config.accumulation,
            kwargs_handlers=[InitProcessGroupKwargs(timeout=DECODING_LIMIT)],
        )
        self.is_main = self.accelerator.is_main_process
        self.data, self.training, self.held_out = load_data(config, self.accelerator)
        model = build_model(self.data.processor.config, config.seed)
        if config.initial is not None:
            load_weights(model, config.initial, "float32")  # an optimizer's small steps vanish in half precision
        if config.lora.rank:
            add_adapters(model, config.lora)
        self.average = copy.deepcopy(model).to(self.accelerator.device).eval()
        self.model, self.optimizer = self.accelerator.prepare(model, build_optimizer(model, config))
        self.bare_model = self.accelerator.unwrap_model(self.model)
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
        inputs = to_device(self.data.batch(order[number]), self.accelerator.device)
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + number)
        inputs["pixel_values"] = jitter_colors(inputs["pixel_values"], self.config.jitter, generator)
        data_s = time.perf_counter() - began
        with self.accelerator.accumulate(self.model):
            loss = self.model(**inputs).loss
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return loss.item(), data_s

    def train(self) -> None:
        """Run to the end of the steps or of the time."""
        config, began = self.config, time.monotonic() - self.progress.elapsed_s
        order = BatchOrder(self.training, config.batch_size, config.seed)
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
                update_average(self.average, self.bare_model, config.average_decay, step)
                self.progress = Progress(step + 1, self._shared(time.monotonic() - began))
                is_last = done_share(config, self.progress) >= 1
                bar.update()
                if self.is_main and (is_last or (step + 1) % config.log_every == 0):
                    wall, window = time.perf_counter() - window, time.perf_counter()
                    frames = len(recent) * config.batch_size * self.accelerator.num_processes
                    self._log(lr, float(np.mean(recent)), data_s / wall, frames / wall)
                    bar.set_postfix(loss=f"{np.mean(recent):.3f}")
                    recent, data_s = [], 0.0
                if self.is_main and len(self.held_out) and (is_last or (step + 1) % config.validate_every == 0):
                    self._validate()
                late = time.monotonic() - saved_s > 60 * config.save_minutes
                if self.is_main and (is_last or late or (step + 1) % config.save_every == 0):
                    self.save()
                    saved_s = time.monotonic()

    def save(self) -> None:
        """Write the policy, then the state that resumes from it, and the picture."""
        directory = self.output / POLICY_DIRECTORY
        part = directory.with_name(directory.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        policy = SpatialVLAPolicy(merged(self.average), self.data.processor, str(self.accelerator.device))
        policy.save_pretrained(part)
        if self.config.lora.rank:
            save_adapters(self.average, self.config.lora, str(self.config.initial), self.output / ADAPTERS_DIRECTORY)
        (part / CONFIG_FILE).write_text(json.dumps(asdict(self.config), indent=2, default=str) + "\n")
        directory.mkdir(exist_ok=True)
        for file in part.iterdir():
            file.replace(directory / file.name)
        part.rmdir()
        save_state(self.output / STATE_FILE, self.bare_model, self.average, self.optimizer.optimizer, self.progress)
        self.log.draw()

    def _log(self, lr: float, loss: float, data_share: float, frames_per_s: float) -> None:
        row = {"step": self.progress.step, "elapsed_s": round(self.progress.elapsed_s, 1), "lr": lr, "loss": loss}
        self.log.write(row | {"data_share": round(data_share, 4), "frames_per_s": round(frames_per_s, 1)})

    def _validate(self) -> None:
        metrics = validate(merged(self.average), self.data, self.held_out, self.config.batch_size)
        self.log.write({"step": self.progress.step} | {f"validation/{name}": v for name, v in metrics.items()})

    def _shared(self, value: float) -> float:
        """The main process's value: all processes must agree on when the time is over."""
        if self.accelerator.num_processes == 1:
            return value
        values = [value]
        broadcast_object_list(values)
        return values[0]


def check_output(config: TrainConfig) -> None:
    """Refuse to mix two runs.

    Raises:
        ValueError: `output` holds a run although `resume` is not set, or none although it is; or adapters have no
            policy to adapt.
    """
    if config.lora.rank and config.initial is None:
        raise ValueError("--lora.rank: expected --initial, the policy to adapt, found none")
    state = config.output / STATE_FILE
    if config.resume and not state.exists():
        raise ValueError(f"--resume: expected a saved run in {config.output}, found no {STATE_FILE}")
    if state.exists() and not config.resume:
        raise ValueError(
            f"--output: expected an unused directory, found a run in {config.output}; continue it with --resume"
        )


def main() -> None:
    """Train from the command line."""
    config = tyro.cli(TrainConfig, description=__doc__)
    check_output(config)
    config.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config.threads)
    run = Run(config)
    run.train()
    # A process that ends while another still saves would tear down the group under it.
    run.accelerator.wait_for_everyone()
    run.accelerator.end_training()


if __name__ == "__main__":
    main()
