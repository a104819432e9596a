"""`SpatialVLALearner`: what `policies.train` needs to train a SpatialVLA policy on demonstrations."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from policies.execution.kinematics import Kinematics
from policies.lora import ADAPTERS_DIRECTORY, merged, save_adapters
from policies.quantization import refuse_quantized
from policies.robots import get_named_robot
from policies.robots.spec import RobotSpec
from policies.spatialvla.adapted_maps import TARGETS, adapt
from policies.spatialvla.augmentation import augment
from policies.spatialvla.checkpoint import empty_model, load_weights
from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.dataset_statistics import statistics_keys, warn_of_other_scale
from policies.spatialvla.fitting import fit_processor
from policies.spatialvla.model import build_model
from policies.spatialvla.needed_inputs import needed_inputs
from policies.spatialvla.policy import SpatialVLAPolicy
from policies.spatialvla.processor import ProcessorSettings, SpatialVLAProcessor
from policies.spatialvla.processor_file import read_processor
from policies.spatialvla.validation import validate
from policies.train_config import POLICY_DIRECTORY, TrainConfig
from policies.training_data import (
    Columns,
    Images,
    TrainingData,
    decode_images,
    open_datasets,
    open_images,
    read_columns,
)
from representation.data.augmentations import jitter_colors
from representation.data.batches import some_episodes, split_frames
from representation.data.lerobot_dataset import LeRobotDataset


class SpatialVLALearner:
    """Data, network and objective of a SpatialVLA policy; a `representation.training.Learner`.

    Args:
        config: the arguments.
        accelerator: the processes of the run.
    """

    product = POLICY_DIRECTORY
    weights = None

    def __init__(self, config: TrainConfig, accelerator: Accelerator) -> None:
        self.config = config
        self.data, self.training, self.held_out = load_data(config, accelerator)
        self.restyle = config.restyle.augment(accelerator.device)
        network = self.data.processor.config
        if config.initial is None:
            self.model = build_model(network, config.seed)
        else:
            refuse_quantized(config.initial)
            self.model = empty_model(network)
            load_weights(self.model, config.initial, "float32")  # an optimizer's small steps vanish in half precision
        if config.checkpointing:
            self.model.enable_checkpointing()
        trains_words = config.initial is None if config.train_text_table is None else config.train_text_table
        self.model.language_model.model.embed_tokens.requires_grad_(trains_words)
        if config.lora.rank:
            adapt(self.model, config.lora)

    def batch(self, frames: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """Model inputs of some frames, looks, cut and colours changed at random."""
        inputs = self.data.batch(frames)
        if self.restyle is not None:
            seen = {"images": inputs["pixel_values"], "episode": self.data.columns.episode[frames]}
            inputs["pixel_values"] = self.restyle(seen, generator.initial_seed())["images"]
        if self.config.augment:
            inputs = augment(inputs, generator)
        inputs["pixel_values"] = jitter_colors(inputs["pixel_values"], self.config.jitter, generator)
        return inputs

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy per token."""
        return model(**batch).loss

    def validate(self, model: nn.Module, batch_size: int) -> dict[str, float]:
        """See `policies.spatialvla.validation.validate`."""
        return validate(merged(model), self.data, self.held_out, batch_size)

    def save(self, model: nn.Module, directory: Path, device: str) -> None:
        """Write the policy, and adapters alone beside the run's policy."""
        SpatialVLAPolicy(merged(model), self.data.processor, device).save_pretrained(directory)
        config = self.config
        if config.lora.rank:
            save_adapters(model, config.lora, TARGETS, str(config.initial), config.output / ADAPTERS_DIRECTORY)


def fresh_kind(config: TrainConfig, robot: str, fps: float) -> tuple[SpatialVLAConfig, ProcessorSettings]:
    """Sizes and settings of a policy that starts afresh; tokens and bins are fitted later."""
    network = getattr(SpatialVLAConfig, config.size)(use_ego3d=config.ego3d)
    settings = ProcessorSettings(robot=robot, camera=config.camera, control_hz=fps)
    return network, settings if config.dataset_key is None else replace(settings, dataset_key=config.dataset_key)


def stored_processor(config: TrainConfig, robot: str, fps: float) -> SpatialVLAProcessor | None:
    """The processor of the run that is resumed or of the policy to start from; None for a fresh one.

    Raises:
        ValueError: the policy to start from is of another kind than the arguments and the demonstrations say.
    """
    if config.resume:
        return read_processor(config.output / POLICY_DIRECTORY)
    if config.initial is None:
        return None
    processor = read_processor(config.initial)
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
    if robot is None:
        raise ValueError(f"{datasets[0].root}: meta/info.json: robot_type: expected a robot's name, found none")
    spec = get_named_robot(robot)
    forward = Kinematics(spec).forward
    processor = stored_processor(config, robot, fps)
    network, settings = fresh_kind(config, robot, fps) if processor is None else (processor.config, processor.settings)
    needs = needed_inputs(network, settings.intrinsics)
    if needs.joints:
        check_joints(datasets, spec)
    columns = read_columns(datasets, config.camera, needs, forward)
    generator = np.random.default_rng(config.seed)
    training, held_out = split_frames(columns, config.validation_episodes, generator)
    training = some_episodes(columns, training, config.share, generator)
    held_out = np.sort(generator.permutation(held_out)[: config.validation_frames])
    keys = statistics_keys(config.dataset_key, datasets, processor)
    if processor is None:
        texts = [columns.instructions[frame] for frame in training]
        by_frame = None if keys is None else [keys[number] for number in columns.dataset[training]]
        processor = fit_processor(
            columns.actions[training], texts, network, settings, spec, forward, dataset_keys=by_frame
        )
    elif config.initial is not None and not config.resume and accelerator.is_main_process:
        warn_of_other_scale(config.initial, datasets, columns, training, processor, keys)
    if keys is not None:
        processor = replace(processor, settings=replace(processor.settings, dataset_key=str(config.dataset_key)))
    images = load_images(config, accelerator, datasets, columns, processor)
    return TrainingData(columns, images, processor, keys), training, held_out


def check_joints(datasets: Sequence[LeRobotDataset], robot: RobotSpec) -> None:
    """Refuse states that are not the robot's joints.

    Raises:
        ValueError: names the dataset, how many were expected and how many were found.
    """
    for dataset in datasets:
        state = dataset.info.features.get("observation.state")
        if state is not None and state.shape != (len(robot.joint_names),):
            raise ValueError(
                f"{dataset.root}: observation.state: expected the {len(robot.joint_names)} joints of {robot.name}, "
                f"found shape {state.shape}"
            )


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
