"""`RDTPolicy`: the network with its encoders and one robot's embodiment behind the `Policy` contract."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from policies.execution.kinematics import Kinematics
from policies.interface import ActionChunk, Continuation, Observation
from policies.loading import find_policy
from policies.parameters import Dtype
from policies.rdt.checkpoint import load_model, save_model
from policies.rdt.compiled_network import best_mode, compiled
from policies.rdt.embedding_folder import EmbeddingFolder
from policies.rdt.encoder_directories import EMBEDDINGS, TEXT_ENCODER, TOWER, load_text_encoder, load_tower
from policies.rdt.image_conditions import ImageConditions
from policies.rdt.image_tower import ImageFeatures, ImageTower
from policies.rdt.images import CAMERA_ROLES, FRAMES, CameraRole, Picture, ordered_pictures, prepare_pictures
from policies.rdt.joint_history import JointHistory
from policies.rdt.language import TextEncoder
from policies.rdt.network import Attended, Conditions, RDTModel
from policies.rdt.prefix import Prefix, most_consistent
from policies.rdt.running_chunk import RunningChunk
from policies.rdt.sampling import draw_noise, regress, sample
from policies.rdt.settings import RDTSettings, read_settings, write_settings
from policies.rdt.solver import DPMSolverPP
from policies.rdt.tool_numbers import tool_numbers
from policies.rdt.unified_space import rotation_from_6d
from policies.rdt.weights_file import WeightsFormat
from policies.robots import get_named_robot

DEFAULT_SEED = 0
_LOG = logging.getLogger(__name__)
SELECTED_FROM = 16  # chunks that "select" draws


class RDTPolicy:
    """Draws a chunk for each observation, from pictures of now and, by networks of two moments, of one step ago.

    The latter are those of `Observation.earlier`; where one lacks, the network sees the background, as in training.
    A network with a history also sees how the joints moved before: those of the observations so far and of the readings
    that they carry, see `Observation.readings`.

    Seeds fix the noise: the same seed and observations give the same chunks.

    Args:
        model: the network.
        tower: the image encoder that it was trained with.
        text: the text encoder, likewise, or a folder of what it gave.
        settings: see `RDTSettings`.
        device: where network and tower run.
        compile: compile the network for chunks that go on with none before, at the first of them; those that do go on
            take it as it is. On a GPU its steps are replayed as a CUDA graph.

    Attributes:
        robot: name of the robot.
        cameras: those that the embodiment names, the exterior one first.
        control_hz: rate of the commands, which are the rows of its answers.
        chunk_length: commands of a chunk.
        instructions: the only ones that it understands; empty for any.
        may_lack_cameras: a camera that an observation lacks is seen as missing, as in training.
        looks_back: whether it looks at pictures of one step ago.
        max_delay: most rows that it may be given clean at the start of a chunk.
        query_steps: control steps from one observation that it is to be asked to answer to the next.

    Raises:
        ValueError: encoders, embodiment, robot and network do not fit each other; says which.
    """

    may_lack_cameras = True

    def __init__(
        self,
        model: RDTModel,
        tower: ImageTower,
        text: TextEncoder,
        settings: RDTSettings,
        device: str = "cpu",
        compile: bool = False,
    ) -> None:
        config, embodiment, spec = model.config, settings.embodiment, get_named_robot(settings.robot)
        check_fit(model, tower, text.width, settings)
        self.robot: str = settings.robot
        self._roles: dict[CameraRole, str] = {
            role: name for role, name in zip(CAMERA_ROLES, embodiment.cameras, strict=True) if name
        }
        self.cameras: tuple[str, ...] = tuple(self._roles.values())
        self.control_hz: float = embodiment.control_hz
        self._spacing = embodiment.spacing(config.pred_horizon)
        self.chunk_length: int = self._spacing.steps
        self.instructions = tuple(text.texts.values()) if isinstance(text, EmbeddingFolder) else ()
        self.settings = settings
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self._compiled = compiled(self.model, best_mode(self.device)) if compile else None
        self.tower = tower.to(self.device) if isinstance(tower, torch.nn.Module) else tower
        self.text = text
        self._kinematics = Kinematics(spec) if embodiment.kind == "eef" else None
        self._spec = spec
        self._solver = DPMSolverPP(settings.sampler_steps, config.prediction_type, config.num_train_timesteps)
        self._features = ImageFeatures(self.tower, self.device)
        with torch.no_grad():
            self._image_conditions = ImageConditions(self.model, self._features.background)
        self._slots = config.image_grid[0] * config.image_grid[1]
        self.looks_back: bool = config.image_grid[0] == FRAMES
        self._joints = JointHistory(embodiment, config.history_steps) if config.history_steps else None
        self._seen: list[tuple[Picture, Tensor]] = []
        self._language: tuple[str, Attended] | None = None
        self._running = RunningChunk(embodiment)
        self.max_delay = _max_delay(model, settings)
        self.query_steps = settings.query_steps
        self._generator = torch.Generator().manual_seed(DEFAULT_SEED)

    def reset(self, seed: int | None = None) -> None:
        """Forget the joints and chunks so far; draw noise from `seed` on."""
        self._forget()
        self._seen = []
        self._generator.manual_seed(DEFAULT_SEED if seed is None else seed)

    def act(self, observation: Observation) -> ActionChunk:
        """Answer one observation.

        A camera of the embodiment that the observation lacks is seen as missing, which the network was trained on.

        Args:
            observation: what the robot sees.

        Raises:
            ValueError: no camera at all, joints in other units than rad and m, or an instruction without embedding.
        """
        self._look(observation)
        return self._answered(observation, None)

    def act_on(self, observation: Observation, continuation: Continuation) -> ActionChunk:
        """Answer one observation so that the chunk goes on with the one before; see `RunningChunk.prefix`.

        With method "clean" no more rows are committed than the network was trained for; the answer tells how many.

        Raises:
            ValueError: see `act`; or a network that was trained for regression, or, with method "clean", without clean
                prefixes.
        """
        if self.settings.objective == "regression":
            raise ValueError("real-time chunking: expected a network that samples, found one trained for regression")
        self._look(observation)
        prefix = self._running.prefix(observation.stamp, self._state(observation), continuation)
        if prefix is not None and prefix.mode == "clean":
            prefix = replace(prefix, committed=min(prefix.committed, self.max_delay))
        if prefix is None or continuation.method != "select":
            return self._answered(observation, prefix)
        chunks = self.draw(observation, self.pictures(observation), SELECTED_FROM)
        mask = self.settings.embodiment.state_to_unified(self._state(observation))[1]
        return self._taken(observation, chunks[most_consistent(chunks, prefix, torch.from_numpy(mask).to(chunks))])

    def _look(self, observation: Observation) -> None:
        if not set(self.cameras) & set(observation.cameras):
            raise ValueError(f"cameras: expected some of {list(self.cameras)}, found {list(observation.cameras)}")
        if self._joints is not None:
            self._joints.add(observation)

    def _forget(self) -> None:
        self._running.forget()
        if self._joints is not None:
            self._joints.reset()

    def _answered(self, observation: Observation, prefix: Prefix | None) -> ActionChunk:
        (vectors,) = self.draw(observation, self.pictures(observation), 1, prefix)
        committed = 0 if prefix is None else self._spacing.steps_within(prefix.committed)
        return replace(self._taken(observation, vectors), committed=committed)

    def _taken(self, observation: Observation, vectors: Tensor) -> ActionChunk:
        self._running.remember(observation.stamp, self._state(observation), vectors)
        return self.chunk(observation, vectors)

    def act_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """Answer independent observations, each as the first of its episode."""
        chunks = []
        for observation in observations:
            self._forget()
            chunks.append(self.act(observation))
        self._forget()
        return chunks

    def pictures(self, observation: Observation) -> list[Picture | None]:
        """The six pictures that the network is shown, in token order (see `ordered_pictures`), None where missing."""
        now = {name: view.rgb for name, view in observation.cameras.items()}
        before = {name: self._as_seen(picture) for name, picture in observation.earlier.items()}
        return ordered_pictures({role: (before.get(name), now.get(name)) for role, name in self._roles.items()})

    def _as_seen(self, picture: Picture) -> Picture:
        """The picture of the last answer that is the same; it need not be the same array, as over a network."""
        return next((seen for seen, _ in self._seen if np.array_equal(seen, picture)), picture)

    @torch.no_grad()
    def conditions(self, instruction: str, pictures: Sequence[Picture | None]) -> Conditions:
        """Keys and values of an instruction and six pictures, None where missing; those of before are not redone."""
        if self._language is None or self._language[0] != instruction:
            tokens = self.text(instruction)[None].to(self.device)
            self._language = (instruction, self.model.encode_language(tokens))
        seen = pictures[-self._slots :]
        return Conditions(self._language[1], self._image_conditions.encode(self._encoded(seen)))

    def draw(
        self, observation: Observation, pictures: Sequence[Picture | None], samples: int, prefix: Prefix | None = None
    ) -> Tensor:
        """Draw chunks (samples, T, 128) in the unified space; the conditions are computed once for all of them."""
        numbers, slots = self.settings.embodiment.state_to_unified(self._state(observation))
        state, mask = (torch.from_numpy(values).to(self.device) for values in (numbers[None], slots))
        frequency = torch.tensor([self.settings.embodiment.told_frequency], device=self.device)
        conditions = self.conditions(observation.instruction, pictures)
        if self._joints is not None:
            conditions = replace(conditions, history=self._mixed(self._joints, observation.stamp))
        if self.settings.objective == "regression":
            with torch.no_grad():
                chunk = regress(self.model, state, self._spacing.rows, mask[None], frequency, conditions)
            return (chunk * mask).expand(samples, -1, -1)
        noise = draw_noise(self.model, samples, self._generator)
        network: Any = self.model if prefix is not None or self._compiled is None else self._compiled
        return sample(network, conditions, state, mask, frequency, noise, self._solver, prefix)

    def chunk(self, observation: Observation, vectors: Tensor) -> ActionChunk:
        """The robot's chunk from the network's rows (T, 128) in the unified space."""
        # Only joints may be relative to the state.
        measured = observation.joint_positions
        rows = self.settings.embodiment.action_from_unified(vectors.double().cpu().numpy(), measured)
        rows = self._spacing.to_steps(rows)
        if self.settings.embodiment.kind == "joint":
            # A sample a little beyond a gripper's stop means the stop; arm joints are left to the safety filter.
            grippers, spec = self._spec.grippers, self._spec
            rows[:, grippers] = rows[:, grippers].clip(spec.lower[grippers], spec.upper[grippers])
            return ActionChunk(observation.stamp, 1 / self.control_hz, "joint", rows)
        angles = Rotation.from_matrix(rotation_from_6d(rows[:, 3:9])).as_euler("xyz")
        poses = np.concatenate([rows[:, :3], angles, rows[:, 9:]], axis=1)
        return ActionChunk(observation.stamp, 1 / self.control_hz, "cartesian_absolute", poses)

    @torch.no_grad()
    def _mixed(self, joints: JointHistory, stamp: float) -> Tensor | None:
        window, present = (torch.from_numpy(part)[None].to(self.device) for part in joints.window(stamp))
        return self.model.encode_history(window, present)

    def _state(self, observation: Observation) -> NDArray[np.float64]:
        joints = observation.joint_positions
        return joints if self._kinematics is None else tool_numbers(self._kinematics, self._spec, joints)

    def _encoded(self, pictures: Sequence[Picture | None]) -> list[Tensor | None]:
        """Features of pictures; a picture that was seen at the last answer is not encoded again."""
        new = [p for p in pictures if p is not None and self._known(p) is None]
        if new:
            pixels, present = prepare_pictures(new, self.tower.image_size)
            self._seen += zip(new, self._features.encode(pixels, present), strict=True)
        features = [None if picture is None else self._known(picture) for picture in pictures]
        self._seen = [(p, f) for p, f in self._seen if any(p is picture for picture in pictures)]
        return features

    def _known(self, picture: Picture) -> Tensor | None:
        return next((features for seen, features in self._seen if seen is picture), None)

    def save_pretrained(self, directory: str | Path, form: WeightsFormat = "safetensors") -> None:
        """Write the network in the released layout, and beside it `policy.json` and the encoders."""
        directory = Path(directory)
        save_model(self.model, directory, form)
        write_settings(self.settings, directory)
        for encoder, name in ((self.tower, TOWER), (self.text, self._text_directory())):
            if hasattr(encoder, "save_pretrained"):
                encoder.save_pretrained(directory / name)

    def _text_directory(self) -> str:
        return EMBEDDINGS if isinstance(self.text, EmbeddingFolder) else TEXT_ENCODER

    @classmethod
    def from_pretrained(
        cls,
        directory: str | Path,
        device: str = "cpu",
        dtype: Dtype = "stored",
        settings: RDTSettings | None = None,
        tower: ImageTower | None = None,
        text: TextEncoder | None = None,
        compile: bool = False,
    ) -> RDTPolicy:
        """Load a policy from a directory, by a shipped name, or from the hub.

        Args:
            directory: holds the network (see `load_model`), `policy.json`, `image_tower/` (SigLIP or `EncoderTower`),
                and `text_encoder/` (T5) or `embeddings/`.
            device: where network and tower run.
            dtype: number format of the network.
            settings: instead of `policy.json`, which released checkpoints lack.
            tower: instead of `image_tower/`.
            text: instead of `text_encoder/` and `embeddings/`.
            compile: see the class.

        Raises:
            FileNotFoundError: a part is missing; names it.
            ValueError: a part is damaged, or they do not fit each other.
        """
        directory = find_policy(str(directory))
        settings = settings or read_settings(directory)
        model = load_model(directory, settings.norm_stat, dtype)
        tower = tower or load_tower(directory)
        text = text or load_text_encoder(directory, model.config.lang_token_dim)
        return cls(model, tower, text, settings, device, compile)


def check_fit(model: RDTModel, tower: ImageTower, text_width: int, settings: RDTSettings) -> None:
    """Refuse parts of a policy that do not fit each other.

    Args:
        model: the network.
        tower: the image encoder.
        text_width: numbers of a token of the text encoder.
        settings: robot and embodiment.

    Raises:
        ValueError: says which part, what was expected and what was found.
    """
    config, embodiment, spec = model.config, settings.embodiment, get_named_robot(settings.robot)
    times, cameras, _ = config.image_grid
    if times not in (1, FRAMES) or cameras != len(CAMERA_ROLES):
        raise ValueError(f"image_grid: expected 1 or 2 times and 3 cameras, found {times} and {cameras}")
    if settings.objective not in ("diffusion", "regression"):
        raise ValueError(f"objective: expected diffusion or regression, found {settings.objective!r}")
    tokens = (config.image_grid[2], config.img_token_dim)
    if (tower.tokens_per_image, tower.width) != tokens:
        raise ValueError(
            f"image tower: expected {tokens} tokens and numbers, found {(tower.tokens_per_image, tower.width)}"
        )
    if text_width != config.lang_token_dim:
        raise ValueError(f"text encoder: expected width {config.lang_token_dim}, found {text_width}")
    if embodiment.kind == "joint" and len(embodiment.names) != len(spec.joint_names):
        raise ValueError(
            f"embodiment {embodiment.name!r}: expected the {len(spec.joint_names)} joints of robot {spec.name!r}, "
            f"found {len(embodiment.names)} numbers"
        )
    if embodiment.kind == "eef" and len(spec.arms) != 1:
        raise ValueError(f"embodiment {embodiment.name!r}: expected a robot of one arm, found {spec.name!r}")
    if config.history_steps and embodiment.kind != "joint":
        raise ValueError(f"embodiment {embodiment.name!r}: expected joints for a history, found {embodiment.kind!r}")
    if not any(embodiment.cameras):
        raise ValueError(f"embodiment {embodiment.name!r}: expected a camera, found none")
    if settings.max_delay is not None and (settings.max_delay > 0) != config.clean_prefix:
        expected = "> 0" if config.clean_prefix else "0"
        raise ValueError(f"max_delay: expected {expected}, as the network has it, found {settings.max_delay}")
    embodiment.spacing(config.pred_horizon)


def _max_delay(model: RDTModel, settings: RDTSettings) -> int:
    """Most rows that may be given clean to a network."""
    if settings.max_delay is not None or not model.config.clean_prefix:
        return settings.max_delay or 0
    rows = model.config.pred_horizon // 2
    _LOG.warning("max_delay: not given, taken as %d, half of the rows", rows)
    return rows
