"""Circling with a target, somewhere beside it: a motion whose next chunk may always contradict the one before.

The waist and the flange of a Panda go round with a target, and the flange keeps a distance from it that differs from
demonstration to demonstration. The policy sees the target alone, so chunks that are drawn one after the other keep
different distances. The speed is the same at all of them, so a jump shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from policies.interface import ActionChunk, Continuation, Observation
from policies.rdt.config import RDTConfig
from policies.rdt.embodiment import Embodiment
from policies.rdt.network import Conditions, build_model
from policies.rdt.objective import Targets, diffusion_loss, draw
from policies.rdt.running_chunk import RunningChunk
from policies.rdt.sampling import draw_noise, sample
from policies.rdt.solver import DPMSolverPP
from policies.robots import get_robot

ROBOT = get_robot("panda")
HZ, ROWS = 25.0, 16
JOINTS = (0, 6)  # waist and flange
# So slow that the gateway has nothing to slow: in rows of a tiny network that are uneven, accelerations grow with it.
RADIUS, TURN_HZ = 0.04, 0.8  # rad, Hz
ASIDE = 0.02  # rad, largest distance of the flange from its target, to either side
BATCH, IMAGE_NOISE = 64, 0.1
FALLING = 0.3  # last share of the training in which the learning rate falls to zero
NAMES = tuple(f"right_arm_joint_{joint}_pos" for joint in JOINTS)
EMBODIMENT = Embodiment(
    "circling", NAMES, control_hz=HZ, state_scale=(RADIUS, RADIUS), state_offset=tuple(ROBOT.home[list(JOINTS)])
)


def phase_at(times: ArrayLike) -> NDArray[np.float64]:
    """Where on its circle the target is, rad, at times in seconds."""
    return 2 * np.pi * TURN_HZ * np.asarray(times, dtype=np.float64)


def motions(phases: ArrayLike, asides: ArrayLike) -> NDArray[np.float64]:
    """Motions (B, 1 + ROWS, 2) of waist and flange, rad.

    Args:
        phases: (B,) of the target at their beginning.
        asides: (B,) distances of the flange from its target, rad; 0 for the target itself.
    """
    turn = np.asarray(phases)[:, None] + phase_at(np.arange(1 + ROWS) / HZ)
    around = RADIUS * np.stack([np.sin(turn), np.cos(turn)], axis=-1)
    around[..., 1] += np.asarray(asides)[:, None]
    return ROBOT.home[list(JOINTS)] + around


def median_step() -> float:
    """Median norm of the steps of demonstrations, rad."""
    ways = motions(np.linspace(0, 2 * np.pi, 32), np.zeros(32))
    return float(np.median(np.linalg.norm(np.diff(ways, axis=1), axis=-1)))


def led_in(stamp: float) -> ActionChunk:
    """A chunk that goes round right with the target from a stamp on, in seconds."""
    rows = np.tile(ROBOT.home, (ROWS, 1))
    rows[:, JOINTS] = motions(phase_at([stamp]), [0.0])[0, 1:]
    return ActionChunk(stamp, 1 / HZ, "joint", rows)


class CirclingPolicy:
    """A tiny RDT, which is told where the target is in place of its own joints.

    Args:
        seed: of weights, data and noise.
    """

    robot = ROBOT.name
    cameras: tuple[str, ...] = ()
    control_hz = HZ
    chunk_length = ROWS

    def __init__(self, seed: int) -> None:
        config = replace(RDTConfig.tiny(), pred_horizon=ROWS, image_grid=(2, 3, 2))
        self.model = build_model(config, seed)
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self._words = torch.zeros(1, 1, config.lang_token_dim)
        self._solver = DPMSolverPP(5)
        self._running = RunningChunk(EMBODIMENT)

    def train(self, steps: int, lr: float, label: str) -> None:
        """Train on demonstrations that are drawn as they are needed."""
        model = self.model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: min(1.0, (steps - k) / (FALLING * steps)))
        for _ in tqdm(range(steps), label, unit="step"):
            targets = self._demonstrations()
            random = draw(targets, model.config.num_train_timesteps, self._generator)
            loss = diffusion_loss(model, targets, self._conditions(BATCH), random, masked=True)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        model.eval()

    def reset(self, seed: int | None = None) -> None:
        """Forget the running chunk."""
        self._running.forget()

    def act(self, observation: Observation) -> ActionChunk:
        """Answer without regard to the chunk before."""
        return self._answer(observation, None)

    def act_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """Answer one after the other."""
        return [self.act(observation) for observation in observations]

    def act_on(self, observation: Observation, continuation: Continuation) -> ActionChunk:
        """Answer so that the chunk goes on with the one before."""
        return self._answer(observation, continuation)

    def _demonstrations(self) -> Targets:
        phases = self._rng.uniform(0, 2 * np.pi, BATCH)
        targets, _ = EMBODIMENT.state_to_unified(motions(phases, np.zeros(BATCH))[:, 0])
        ways = motions(phases, self._rng.uniform(-ASIDE, ASIDE, BATCH))
        actions, slots = EMBODIMENT.action_to_unified(ways[:, 1:])
        mask = torch.from_numpy(slots).expand(BATCH, -1)
        frequency = torch.full((BATCH,), HZ)
        return Targets(torch.from_numpy(targets), torch.from_numpy(actions), mask, mask, frequency)

    def _conditions(self, count: int) -> Conditions:
        """Keys and values of images that show noise, and of no words."""
        config = self.model.config
        images = IMAGE_NOISE * torch.randn(count, config.img_cond_len, config.img_token_dim, generator=self._generator)
        language = self.model.encode_language(self._words.expand(count, -1, -1))
        return Conditions(language, self.model.encode_images(images))

    def _answer(self, observation: Observation, continuation: Continuation | None) -> ActionChunk:
        measured = observation.joint_positions[list(JOINTS)]
        prefix = None
        if continuation is not None:
            prefix = self._running.prefix(observation.stamp, measured, continuation)
        targets = motions(phase_at([observation.stamp]), [0.0])[:, 0]
        seen, mask = (torch.from_numpy(part) for part in EMBODIMENT.state_to_unified(targets))
        with torch.no_grad():
            conditions = self._conditions(1)
        noise, frequency = draw_noise(self.model, 1, self._generator), torch.tensor([HZ])
        (vectors,) = sample(self.model, conditions, seen, mask, frequency, noise, self._solver, prefix)
        self._running.remember(observation.stamp, measured, vectors)
        rows = np.tile(ROBOT.home, (ROWS, 1))
        rows[:, JOINTS] = EMBODIMENT.action_from_unified(vectors.numpy())
        return ActionChunk(
            observation.stamp, 1 / HZ, "joint", rows, committed=0 if prefix is None else prefix.committed
        )
