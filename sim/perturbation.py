"""`Perturbation`: takes its images or the right instruction from a policy, to show that it relies on them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from policies.interface import Observation
from sim.episode_id import EpisodeId
from sim.simulation import TabletopSimulation
from sim.world import World

_TRIES = 100
# Metres. Not NaN: a policy may well refuse an image without any depth, as a failed camera.
_BLANK_DEPTH = 1.0


@dataclass(frozen=True, slots=True)
class Perturbation:
    """What is taken from a policy during an evaluation.

    Attributes:
        blank_images: black colour images and the depth of a flat wall; calibration and joints stay.
        shuffle_instructions: the instruction of another episode of the same task and suite that names another target.
    """

    blank_images: bool = False
    shuffle_instructions: bool = False

    def begin(self, world: World, episode: EpisodeId) -> None:
        """Reset the world to an episode, with the instruction that the policy shall read.

        Raises:
            ValueError: instructions are to be shuffled in a world that has one target alone.
        """
        instruction = _foreign_instruction(world, episode) if self.shuffle_instructions else None
        world.reset(episode)
        if instruction is not None:
            world.instruction = instruction

    def apply(self, observation: Observation) -> Observation:
        """Return what the policy shall see instead of `observation`."""
        if not self.blank_images:
            return observation
        cameras = {
            name: replace(view, rgb=np.zeros_like(view.rgb), depth=np.full_like(view.depth, _BLANK_DEPTH))
            for name, view in observation.cameras.items()
        }
        earlier = {name: np.zeros_like(rgb) for name, rgb in observation.earlier.items()}
        return replace(observation, cameras=cameras, earlier=earlier)


def _foreign_instruction(simulation: World, episode: EpisodeId) -> str:
    """Instruction of the next episode with another target; it does not depend on how many episodes a run has."""
    if not isinstance(simulation, TabletopSimulation):
        raise ValueError(f"shuffle_instructions: expected a task with several targets, found {episode.task}")
    simulation.reset(episode)
    words = simulation.scene.layout.words
    for offset in range(1, _TRIES + 1):
        simulation.reset(replace(episode, index=episode.index + offset))
        if simulation.scene.layout.words != words:
            return simulation.instruction
    raise RuntimeError(f"episode {episode}: expected another target within {_TRIES} episodes, found {words} in all")
