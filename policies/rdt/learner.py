"""`RDTLearner`: what `policies.train` needs to train an RDT policy."""

from __future__ import annotations

import copy
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from policies.lora import ADAPTERS_DIRECTORY, merged, save_adapters
from policies.rdt import encoded_pictures
from policies.rdt.adapted_maps import TARGETS
from policies.rdt.augmentation import add_state_noise, augment_pictures
from policies.rdt.checkpoint import save_model
from policies.rdt.condition_dropping import Substitutes, drop_conditions
from policies.rdt.demonstrations import Demonstrations, Pictures
from policies.rdt.embodiment import Embodiment
from policies.rdt.encoder_directories import has_own_encoders
from policies.rdt.fitted_embodiment import common_embodiments, named_embodiments
from policies.rdt.frozen_encoders import FrozenEncoders
from policies.rdt.images import FRAMES, background_image, scaled_pixels
from policies.rdt.language import pad_embeddings
from policies.rdt.mixture import GREY, Mixture, open_demonstrations
from policies.rdt.objective import draw
from policies.rdt.policy import RDTPolicy, check_fit
from policies.rdt.sampling import draw_noise, regress, sample
from policies.rdt.settings import POLICY_FILE, RDTSettings, read_settings, write_settings
from policies.rdt.solver import DPMSolverPP
from policies.rdt.tool_numbers import as_tool_numbers
from policies.rdt.trained_network import CHUNK, TrainedRDT, fresh_network, stored_network, targets_of
from policies.rdt.word_encoder import vocabulary
from policies.robots import get_named_robot
from policies.train_config import POLICY_DIRECTORY, TrainConfig
from representation.data.augmentations import jitter_colors
from representation.data.batches import some_episodes, split_frames

EMBEDDING_CACHE = "embeddings"
SAMPLE_MSE = "error/sample_mse"
NORMALIZED_L2 = "error/normalized_l2"
LEAST_RMS = 1e-3
"""Added to the size of a state that errors are divided by."""


class RDTLearner:
    """Data, network and objective of an RDT policy; a `representation.training.Learner`.

    Args:
        config: the arguments.
        accelerator: the processes of the run.

    Raises:
        ValueError: a dataset is damaged or does not fit the arguments, or the policy to start from does not fit them.
    """

    product = POLICY_DIRECTORY

    def __init__(self, config: TrainConfig, accelerator: Accelerator) -> None:
        self.config, self.accelerator, options = config, accelerator, config.rdt
        self.restyle = config.restyle.augment(accelerator.device)
        datasets = [
            open_demonstrations(path, options.unmarked_colors, accelerator.is_main_process) for path in config.dataset
        ]
        self.mixture = Mixture(datasets, options.instruction_variants)
        generator = np.random.default_rng(config.seed)
        self.training, held_out = split_frames(self.mixture, config.validation_episodes, generator)
        self.training = some_episodes(self.mixture, self.training, config.share, generator)

        start = config.output / POLICY_DIRECTORY if config.resume else config.initial
        stored = None if start is None else _settings_of(start)
        embodiments = self._embodiments(stored)
        for data, embodiment in zip(datasets, embodiments, strict=True):
            if embodiment.kind == "eef":
                data.steps = as_tool_numbers(data.steps, get_named_robot(data.robot))
        self.settings = replace(
            stored or RDTSettings(datasets[0].robot, embodiments[0]),
            robot=datasets[0].robot,
            embodiment=embodiments[0],
            objective=options.objective,
            max_delay=options.max_delay,
        )
        self.model, self.encoders = self._network(start)
        sizes = self.model.model.config
        self.rows, self.history = sizes.pred_horizon, sizes.image_grid[0] == FRAMES
        tower = self.model.tower if self.encoders is None else self.encoders.tower
        self.image_size: int = tower.image_size
        self._check_sizes()
        lengths = [embodiment.spacing(self.rows).steps for embodiment in embodiments]
        learnable = self.mixture.undisturbed(lengths)
        self.training, held_out = (frames[learnable[frames]] for frames in (self.training, held_out))
        for data, steps, length in zip(datasets, self.mixture.split(self.training), lengths, strict=True):
            if not len(steps):
                raise ValueError(
                    f"{data.path}: expected training steps from which {length} actions on nothing was disturbed, "
                    "found none; record with kicks in place of steady noise"
                )
        self.held_out = np.sort(generator.permutation(held_out)[: config.validation_frames])
        self.weights = self.mixture.weights(options.weights, self.training) if options.weights else None
        self._sees_once = self._is_shown_the_same()
        self.background = self._background()
        self.longest_text = max(len(self._tokens(text)) for text in ("", *self.mixture.all_texts()))
        self.mixture.embody(embodiments, self._pictures(embodiments), self.training, self._missing())

    def _embodiments(self, stored: RDTSettings | None) -> list[Embodiment]:
        """One for each dataset."""
        options, datasets = self.config.rdt, self.mixture.datasets
        if options.embodiments:
            return named_embodiments(options.embodiments, datasets)
        if stored is not None and stored.robot != datasets[0].robot:
            raise ValueError(
                f"{datasets[0].path}: robot: expected {stored.robot} as of the policy to start from, found "
                f"{datasets[0].robot}; for another robot name the --rdt.embodiments"
            )
        cameras = (options.exterior, options.right_wrist, options.left_wrist)
        base = None if stored is None else stored.embodiment
        relative_rows = (options.chunk or CHUNK) if options.relative else 0
        found = common_embodiments(datasets, self.mixture.split(self.training), cameras, base, relative_rows)
        if options.relative and not found[0].relative:
            raise ValueError(f"--rdt.relative: expected a fresh embodiment, found {found[0].name!r} of positions")
        return found

    def _network(self, start: Path | None) -> tuple[TrainedRDT, FrozenEncoders | None]:
        """The network with its first weights, and its encoders where they are frozen."""
        config, options = self.config, self.config.rdt
        texts = self.mixture.all_texts()
        if start is None:
            return fresh_network(config.size, options, vocabulary(texts), config.seed), None
        model = stored_network(start, self.settings.norm_stat, options, config.lora)
        if has_own_encoders(start):
            return model, None
        cache = options.embedding_cache or config.output / EMBEDDING_CACHE
        width = model.model.config.lang_token_dim
        encoders = FrozenEncoders(start, width, ["", *texts], cache, self.accelerator)
        check_fit(model.model, encoders.tower, width, self.settings)
        return model, encoders

    def _check_sizes(self) -> None:
        for name, found in (("chunk", self.rows), ("image_size", self.image_size)):
            asked = getattr(self.config.rdt, name)
            if asked not in (None, found):
                raise ValueError(f"--rdt.{name.replace('_', '-')}: expected the policy's {found}, found {asked}")
        body, history = self.settings.embodiment, self.model.model.config.history_steps
        if history and body.kind != "joint":
            raise ValueError(f"--rdt.history-steps: expected joints, found {body.name!r} of kind {body.kind!r}")
        if not 0 <= (delay := self.config.rdt.max_delay) < self.rows:
            raise ValueError(f"--rdt.max-delay: expected 0 to {self.rows - 1} rows, found {delay}")

    def _is_shown_the_same(self) -> bool:
        """Whether each picture is always the same to a tower that is always the same."""
        tower, config = self.model.tower, self.config
        fixed = tower is not None and not any(parameter.requires_grad for parameter in tower.parameters())
        return fixed and config.jitter == 0 and not config.rdt.augment and config.restyle.model is None

    @torch.no_grad()
    def _background(self) -> Tensor:
        """What stands for a missing picture in a batch: pixels (3, S, S), or features (tokens, width)."""
        pixels = background_image(self.image_size)
        return self.model.tower(pixels[None])[0] if self._sees_once else pixels

    def _missing(self) -> NDArray:
        """What stands for a missing picture in the mixture."""
        return self.background.numpy() if self._sees_once else GREY

    def _pictures(self, embodiments: list[Embodiment]) -> list[Pictures]:
        """Pictures of each dataset, or their features where these never change.

        What must be decoded is, once per machine, into files that its processes map; so are features.
        """
        directory = self.config.output / f"pictures.{platform.node()}"
        wanted = [
            (data, embodiment.cameras, self.image_size, directory / f"{number}.npy")
            for number, (data, embodiment) in enumerate(zip(self.mixture.datasets, embodiments, strict=True))
        ]
        if self.accelerator.is_local_main_process:
            for data, *place in wanted:
                data.decode(*place, progress=self.accelerator.is_main_process)
        self.accelerator.wait_for_everyone()
        pictures = [data.pictures(*place) for data, *place in wanted]
        if self._sees_once:
            files = [directory / f"{number}.features.npy" for number in range(len(pictures))]
            pictures = [self._seen(*one) for one in zip(pictures, self.mixture.datasets, files, strict=True)]
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_local_main_process and directory.is_dir():
            shutil.rmtree(directory)
        return pictures

    def _seen(self, pictures: Pictures, data: Demonstrations, file: Path) -> Pictures:
        """Features of a dataset's pictures, which the processes of a machine make together."""
        accelerator = self.accelerator
        if accelerator.is_local_main_process:
            encoded_pictures.create(file, len(data.steps), self.background)
        accelerator.wait_for_everyone()
        local = int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
        shown = data.path.name if accelerator.is_main_process else None
        encoded_pictures.encode(self.model.tower, pictures, file, accelerator.local_process_index, local, shown)
        accelerator.wait_for_everyone()
        return encoded_pictures.encoded(file)

    def batch(self, frames: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """A training batch: noise on the state, conditions dropped, pictures changed, texts drawn."""
        options = self.config.rdt
        numpy_generator = np.random.default_rng(generator.initial_seed())
        batch = self._plain(frames, numpy_generator)
        batch["state"] = add_state_noise(batch["state"], batch.pop("state_std"), generator, options.state_snr_db)
        present = batch.pop("present")
        if self.restyle is not None:
            seen = {"images": (batch["images"] + 1) / 2, "episode": self.mixture.episode[frames], "present": present}
            batch["images"] = 2 * self.restyle(seen, generator.initial_seed())["images"] - 1
        if self.config.jitter:
            images = (batch["images"] + 1) / 2
            jittered = jitter_colors(images.flatten(0, 1), self.config.jitter, generator).unflatten(0, images.shape[:2])
            batch["images"] = torch.where(present[..., None, None, None], 2 * jittered - 1, batch["images"])
        substitutes = Substitutes(batch.pop("mean_state"), self.background, self._tokens(""))
        batch = drop_conditions(batch, substitutes, generator, options.drop, options.drop_exterior)
        random = draw(targets_of(batch), self.model.model.config.num_train_timesteps, generator, options.max_delay)
        batch |= {"noise": random.noise, "timesteps": random.timesteps}
        if self.config.compile:  # once, for one shape
            missing = self.longest_text - batch["language"].shape[1]
            batch["language"] = functional.pad(batch["language"], (0, 0, 0, missing))
            batch["language_mask"] = functional.pad(batch["language_mask"], (0, missing))
        return batch if random.delays is None else batch | {"delays": random.delays}

    def _plain(self, frames: NDArray[np.int64], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """States, chunks, pixels or features, and texts of some steps.

        With a generator texts vary, and pictures if asked to.
        """
        batch = self.mixture.samples(frames, self.rows, self.history, self.model.model.config.history_steps)
        pictures = batch.pop("pictures")
        if generator is not None and self.config.rdt.augment:
            changed = augment_pictures(pictures.numpy(), batch["present"].numpy(), generator)
            pictures = torch.from_numpy(changed)
        tokens = [self._tokens(text) for text in self.mixture.texts(frames, generator)]
        batch["language"], batch["language_mask"] = pad_embeddings(tokens)
        images = pictures if self._sees_once else scaled_pixels(pictures)
        return batch | {"images": images, "mask": batch["slots"].clone()}

    def _tokens(self, text: str) -> Tensor:
        """Embedding (L, width) of a text, or the numbers (L, 1) of its words where these are trained."""
        if self.encoders is not None:
            return self.encoders.embeddings[text]
        return torch.tensor(self.model.text.ids(text))[:, None]

    def _encoded(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A batch on the device with features in place of pixels, where the tower is frozen."""
        if self.encoders is None:
            return dict(batch)
        return {**batch, "images": self.encoders.features(batch["images"])}

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean squared error in the unified space."""
        return model(self._encoded(batch))

    def predict(self, model: TrainedRDT, batch: Mapping[str, Tensor]) -> Tensor:
        """Chunks that a network makes of a batch, see `TrainedRDT.predict`."""
        return model.predict(self._encoded(batch))

    @torch.no_grad()
    def validate(self, model: nn.Module, batch_size: int) -> dict[str, float]:
        """Loss, and errors of sampled chunks.

        Returns:
            Mean squared error in the unified space; there too the mean of |error| / (rms + 1e-3), with the root mean
            square of the state's number over the episode, as the released validation has it (it says little of
            relative rows, which are not positions); and the mean absolute error in rad (m) by group.
        """
        device, solver = next(model.parameters()).device, DPMSolverPP(self.settings.sampler_steps)
        generator = torch.Generator().manual_seed(self.config.seed)
        losses, squares, ratios, errors = [], [], [], []
        for frames in self._held_out_batches(batch_size):
            batch = self._plain(frames, None)
            random = draw(targets_of(batch), model.model.config.num_train_timesteps, generator)
            batch |= {"noise": random.noise, "timesteps": random.timesteps}
            batch = self._encoded({name: value.to(device) for name, value in batch.items()})
            losses.append(float(model(batch)) * len(frames))
            targets, conditions = targets_of(batch), model.conditions(batch)
            if model.objective == "regression":
                found = regress(model.model, targets.state, self.rows, targets.mask, targets.frequency, conditions)
            else:
                noise = draw_noise(model.model, len(frames), generator)
                mask = targets.mask[0]
                found = sample(model.model, conditions, targets.state, mask, targets.frequency, noise, solver)
            own = targets.slots[0] == 1
            difference = (found - targets.actions)[..., own]
            squares.append(difference.square().mean((1, 2)).cpu().numpy())
            size = torch.from_numpy(self.mixture.state_rms(frames)).to(difference)[:, None, own] + LEAST_RMS
            ratios.append((difference.abs() / size).mean((1, 2)).cpu().numpy())
            errors.append(self.mixture.errors(frames, found.double().cpu().numpy()))
        error = np.concatenate(errors)
        measures = {"loss": sum(losses) / len(self.held_out)}
        measures[SAMPLE_MSE] = float(np.concatenate(squares).mean())
        measures[NORMALIZED_L2] = float(np.concatenate(ratios).mean())
        for number, name in enumerate(self.mixture.group_names):
            own = error[self.mixture.group[self.held_out] == number]
            if len(own):
                measures[f"error/l1/{name}"] = float(own.mean())
        return measures

    def _held_out_batches(self, batch_size: int) -> Iterator[NDArray[np.int64]]:
        """Batches of one dataset each, as chunks that are drawn together have the same slots."""
        own = self.mixture.dataset[self.held_out]
        for number in np.unique(own):
            frames = self.held_out[own == number]
            for start in range(0, len(frames), batch_size):
                yield frames[start : start + batch_size]

    def save(self, model: nn.Module, directory: Path, device: str) -> None:
        """Write the policy with its encoders, and adapters alone beside the run's policy."""
        whole, config = merged(model.model), self.config
        if self.encoders is None:
            tower = copy.deepcopy(model.tower).requires_grad_(False)
            RDTPolicy(whole, tower, model.text, self.settings, device).save_pretrained(directory)
        else:
            save_model(whole, directory)
            write_settings(self.settings, directory)
            self.encoders.copy(directory, config.output / POLICY_DIRECTORY)
        if config.lora.rank:
            adapters = config.output / ADAPTERS_DIRECTORY
            save_adapters(model.model, config.lora, TARGETS, str(config.initial), adapters)


def _settings_of(directory: Path) -> RDTSettings:
    """Settings of the policy that a run goes on from."""
    if not (directory / POLICY_FILE).is_file():
        raise ValueError(f"{directory}: expected an RDT policy to go on from, found no {POLICY_FILE}")
    return read_settings(directory)
