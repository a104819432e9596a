"""`RDTLearner`: what `policies.train` needs to train an RDT policy, its encoders included."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import SiglipVisionConfig

from policies.rdt.augmentation import add_state_noise
from policies.rdt.condition_dropping import Substitutes, drop_conditions
from policies.rdt.config import RDTConfig
from policies.rdt.demonstrations import decode_pictures, fit_embodiment, read_steps
from policies.rdt.embodiment import Embodiment
from policies.rdt.image_tower import SiglipTower
from policies.rdt.images import CAMERA_ROLES, FRAMES, background_image, scaled_pixels
from policies.rdt.network import Conditions, build_model
from policies.rdt.objective import Noise, Targets, diffusion_loss, draw, regression_loss
from policies.rdt.policy import POLICY_FILE, RDTPolicy, RDTSettings, read_settings
from policies.rdt.sampling import draw_noise, regress, sample
from policies.rdt.solver import DPMSolverPP
from policies.rdt.word_encoder import WordEncoder, vocabulary
from policies.robots import get_named_robot
from policies.train_config import TrainConfig
from policies.training_data import jitter_colors, open_datasets, split_frames
from policies.training_loop import POLICY_DIRECTORY

MAX_WORDS = 64
SIZES = {
    "small": ({"hidden_size": 192, "depth": 8, "num_heads": 6}, {"hidden_size": 128, "num_hidden_layers": 3}),
    "tiny": ({"hidden_size": 32, "depth": 2, "num_heads": 2}, {"hidden_size": 16, "num_hidden_layers": 1}),
}
"""Sizes of network and image tower."""
MLP_RATIO, HEAD_WIDTH = 3, 16


class TrainedRDT(nn.Module):
    """Network, image tower and words, trained together; its forward pass is the loss.

    Args:
        config: of the network.
        tower: of the image tower.
        words: vocabulary.
        seed: of the weights.
        objective: see `RDTTraining`.
    """

    def __init__(
        self, config: RDTConfig, tower: SiglipVisionConfig, words: list[str], seed: int, objective: str
    ) -> None:
        super().__init__()
        self.model = build_model(config, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.tower = SiglipTower(tower).vision_model.requires_grad_(True)
            self.text = WordEncoder(words, config.lang_token_dim)
        self.objective = objective

    def features(self, pixels: Tensor) -> Tensor:
        """Image tokens (B, images * tokens, width) of pixels (B, images, 3, S, S)."""
        found = self.tower(pixel_values=pixels.flatten(0, 1)).last_hidden_state
        return found.unflatten(0, pixels.shape[:2]).flatten(1, 2)

    def conditions(self, batch: Mapping[str, Tensor]) -> Conditions:
        """Keys and values of a batch's language and images."""
        language = self.model.encode_language(self.text.table(batch["words"]), batch["language_mask"])
        return Conditions(language, self.model.encode_images(self.features(batch["images"])))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Loss over the robot's own slots."""
        targets, conditions = targets_of(batch), self.conditions(batch)
        if self.objective == "regression":
            return regression_loss(self.model, targets, conditions, masked=True)
        random = Noise(batch["noise"], batch["timesteps"], batch.get("delays"))
        return diffusion_loss(self.model, targets, conditions, random, masked=True)


def targets_of(batch: Mapping[str, Tensor]) -> Targets:
    """What a batch's chunks are."""
    return Targets(batch["state"][:, 0], batch["actions"], batch["slots"], batch["mask"], batch["frequency"])


class RDTLearner:
    """Data, network and objective of an RDT policy; a `policies.training_loop.Learner`.

    Args:
        config: the arguments.
        accelerator: the processes of the run.

    Raises:
        ValueError: a dataset is damaged or does not fit the arguments, or `initial` does not fit them.
    """

    def __init__(self, config: TrainConfig, accelerator: Accelerator) -> None:
        self.config, options = config, config.rdt
        datasets = open_datasets(config.dataset)
        self.spec = get_named_robot(datasets[0].info.robot_type)
        self.steps = read_steps(datasets, self.spec)
        generator = np.random.default_rng(config.seed)
        self.training, held_out = split_frames(self.steps, config.validation_episodes, generator)
        self.held_out = np.sort(generator.permutation(held_out)[: config.validation_frames])
        cameras = (options.exterior, options.right_wrist, options.left_wrist)
        self.names = [name for name in cameras if name]
        self.present = [role for role, name in enumerate(cameras) if name]
        stored = _stored_settings(config)
        self.embodiment: Embodiment = (
            fit_embodiment(self.spec, self.steps, self.training, cameras, float(datasets[0].info.fps))
            if stored is None
            else stored.embodiment
        )
        self.pictures = self._decoded(datasets, accelerator)
        self.model = self._initial_model()
        self.states, slots = self.embodiment.state_to_unified(self.steps.states)
        self.slots = torch.from_numpy(slots)
        self.mean_state = torch.from_numpy(self.states[self.training].mean(axis=0))
        scale, _ = Embodiment("std", self.embodiment.names, 1.0).state_to_unified(
            self.steps.state_std / np.asarray(self.embodiment.state_scale)
        )
        self.state_std = scale

    def _decoded(self, datasets: list, accelerator: Accelerator) -> NDArray[np.uint8]:
        """Pictures of all steps, decoded once per machine into a file that all its processes map."""
        path = self.config.output / f"pictures.{platform.node()}" / "pictures.npy"
        if accelerator.is_local_main_process:
            progress = accelerator.is_main_process
            decode_pictures(datasets, self.names, self.config.rdt.image_size, path, progress)
        accelerator.wait_for_everyone()
        pictures = np.load(path, mmap_mode="r")
        accelerator.wait_for_everyone()
        if accelerator.is_local_main_process:
            shutil.rmtree(path.parent)
        return pictures

    def _initial_model(self) -> TrainedRDT:
        config, options = self.config, self.config.rdt
        network, tower = SIZES[config.size]
        width = tower["hidden_size"]
        vision = SiglipVisionConfig(
            **tower,
            intermediate_size=MLP_RATIO * width,
            num_attention_heads=width // HEAD_WIDTH,
            image_size=options.image_size,
            patch_size=options.patch_size,
            attn_implementation="eager",
        )
        times = FRAMES if options.history else 1
        sizes = RDTConfig(
            **network,
            pred_horizon=options.chunk,
            lang_token_dim=width,
            img_token_dim=width,
            image_grid=(times, len(CAMERA_ROLES), (options.image_size // options.patch_size) ** 2),
            max_lang_cond_len=MAX_WORDS,
            clean_prefix=options.max_delay > 0,
        )
        directory = self._stored_policy()
        if directory is None:
            words = vocabulary(self.steps.instructions)
            return TrainedRDT(sizes, vision, words, config.seed, options.objective)
        stored = RDTPolicy.from_pretrained(directory, dtype="float32")
        if not isinstance(stored.text, WordEncoder) or not isinstance(stored.tower, SiglipTower):
            raise ValueError(f"{directory}: expected a policy with a trained image tower and words, found others")
        if stored.model.config != replace(sizes, norm_stat=stored.model.config.norm_stat):
            raise ValueError(f"{directory}: expected a network of {sizes}, found {stored.model.config}")
        model = TrainedRDT(sizes, vision, list(stored.text.words[2:]), config.seed, options.objective)
        model.model.load_state_dict(stored.model.state_dict())
        model.tower.load_state_dict(stored.tower.vision_model.state_dict())
        model.text.load_state_dict(stored.text.state_dict())
        return model

    def _stored_policy(self) -> Path | None:
        return self.config.output / POLICY_DIRECTORY if self.config.resume else self.config.initial

    def batch(self, frames: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """A training batch: noise on the state, conditions dropped, colours changed."""
        options, batch = self.config.rdt, self._plain(frames)
        std = torch.from_numpy(self.state_std[frames])
        batch["state"] = add_state_noise(batch["state"], std, generator, options.state_snr_db)
        images = (batch["images"] + 1) / 2
        jittered = jitter_colors(images.flatten(0, 1), self.config.jitter, generator).unflatten(0, images.shape[:2])
        batch["images"] = torch.where(batch.pop("present")[..., None, None, None], 2 * jittered - 1, batch["images"])
        batch["language"] = batch["words"][..., None]
        ending = torch.tensor(self.model.text.ids(""))[:, None]
        background = background_image(options.image_size)
        batch = drop_conditions(batch, Substitutes(self.mean_state, background, ending), generator, options.drop)
        batch["words"] = batch.pop("language")[..., 0]
        random = draw(targets_of(batch), self.model.model.config.num_train_timesteps, generator, options.max_delay)
        batch |= {"noise": random.noise, "timesteps": random.timesteps}
        return batch if random.delays is None else batch | {"delays": random.delays}

    def _plain(self, frames: NDArray[np.int64]) -> dict[str, Tensor]:
        """States, chunks, pictures and words of some steps."""
        steps, count = self.steps, len(frames)
        actions, _ = self.embodiment.action_to_unified(steps.chunks(frames, self.config.rdt.chunk))
        pixels, present = self._pictures(frames)
        ids = [torch.tensor(self.model.text.ids(steps.instructions[frame])) for frame in frames]
        words = pad_sequence(ids, batch_first=True)
        lengths = torch.tensor([len(one) for one in ids])
        return {
            "state": torch.from_numpy(self.states[frames])[:, None],
            "actions": torch.from_numpy(actions),
            "slots": self.slots.expand(count, -1),
            "mask": self.slots.expand(count, -1).clone(),
            "frequency": torch.full((count,), self.embodiment.control_hz),
            "images": pixels,
            "present": present,
            "words": words,
            "language_mask": torch.arange(words.shape[1]) < lengths[:, None],
        }

    def _pictures(self, frames: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Pixels (B, images, 3, S, S) in token order, and which of them are present (B, images)."""
        size, roles = self.config.rdt.image_size, len(CAMERA_ROLES)
        times = (frames - 1, frames) if self.config.rdt.history else (frames,)
        pixels = background_image(size).repeat(len(frames), len(times) * roles, 1, 1, 1)
        present = torch.zeros(len(frames), len(times) * roles, dtype=torch.bool)
        for number, numbers in enumerate(times):
            valid = numbers >= self.steps.first[frames]
            places = [number * roles + role for role in self.present]
            found = scaled_pixels(torch.from_numpy(self.pictures[np.maximum(numbers, 0)]))
            pixels[:, places] = torch.where(
                torch.from_numpy(valid)[:, None, None, None, None], found, pixels[:, places]
            )
            present[:, places] = torch.from_numpy(valid)[:, None]
        return pixels, present

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean squared error over the robot's own slots, in the unified space."""
        return model(batch)

    @torch.no_grad()
    def validate(self, model: nn.Module, batch_size: int) -> dict[str, float]:
        """Loss, and errors of sampled chunks: mean squared in the unified space, absolute in rad (m) by group."""
        device, solver = next(model.parameters()).device, DPMSolverPP(RDTSettings.sampler_steps)
        generator = torch.Generator().manual_seed(self.config.seed)
        losses, squares, errors = [], [], []
        for start in range(0, len(self.held_out), batch_size):
            frames = self.held_out[start : start + batch_size]
            batch = self._plain(frames)
            del batch["present"]
            random = draw(targets_of(batch), model.model.config.num_train_timesteps, generator)
            batch |= {"noise": random.noise, "timesteps": random.timesteps}
            batch = {name: value.to(device) for name, value in batch.items()}
            losses.append(float(model(batch)) * len(frames))
            targets, conditions = targets_of(batch), model.conditions(batch)
            if model.objective == "regression":
                rows = self.config.rdt.chunk
                found = regress(model.model, targets.state, rows, targets.mask, targets.frequency, conditions)
            else:
                noise = draw_noise(model.model, len(frames), generator)
                mask = targets.mask[0]
                found = sample(model.model, conditions, targets.state, mask, targets.frequency, noise, solver)
            difference = (found - targets.actions)[..., self.slots == 1]
            squares.append(difference.square().mean((1, 2)).cpu().numpy())
            commands = self.embodiment.action_from_unified(found.double().cpu().numpy())
            errors.append(np.abs(commands - self.steps.chunks(frames, self.config.rdt.chunk)).mean((1, 2)))
        error = np.concatenate(errors)
        measures = {"loss": sum(losses) / len(self.held_out)}
        measures["error/sample_mse"] = float(np.concatenate(squares).mean())
        for number, name in enumerate(self.steps.group_names):
            own = error[self.steps.group[self.held_out] == number]
            if len(own):
                measures[f"error/l1/{name}"] = float(own.mean())
        return measures

    def save(self, model: nn.Module, directory: Path, device: str) -> None:
        """Write the policy with its image tower and words."""
        tower = SiglipTower(model.tower.config)
        tower.vision_model.load_state_dict(model.tower.state_dict())
        settings = RDTSettings(
            self.spec.name, self.embodiment, model.model.config.norm_stat, objective=self.config.rdt.objective
        )
        RDTPolicy(model.model, tower, model.text, settings, device).save_pretrained(directory)


def _stored_settings(config: TrainConfig) -> RDTSettings | None:
    """Settings of the policy that a run goes on from; None for a fresh one."""
    directory = config.output / POLICY_DIRECTORY if config.resume else config.initial
    if directory is None:
        return None
    if not (directory / POLICY_FILE).is_file():
        raise ValueError(f"{directory}: expected an RDT policy to go on from, found no {POLICY_FILE}")
    return read_settings(directory)
