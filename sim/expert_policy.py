"""`ExpertPolicy`: the scripted expert as a policy, so that evaluation drives it on the same road as any other."""

from __future__ import annotations

from collections.abc import Sequence

from policies.interface import ActionChunk, Observation
from sim.expert import Expert
from sim.simulation import TabletopSimulation


class ExpertPolicy:
    """Answers from the state of the simulation, not from the observation, so it cannot leave the simulation's process.

    Args:
        simulation: the simulation whose episodes it solves.
    """

    cameras: tuple[str, ...] = ()
    chunk_length = 1

    def __init__(self, simulation: TabletopSimulation) -> None:
        self.robot = simulation.robot.name
        self.control_hz = simulation.config.control_hz
        self._expert = Expert(simulation)

    def reset(self, seed: int | None = None) -> None:
        """Nothing is remembered."""

    def act(self, observation: Observation) -> ActionChunk:
        """Return the expert's next step as a chunk of one row."""
        return self._expert.act()

    def act_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """Answer a single observation: there is one simulation, so there cannot be two.

        Raises:
            ValueError: more than one observation.
        """
        if len(observations) != 1:
            raise ValueError(f"observations: expected 1 (the expert sees one simulation), found {len(observations)}")
        return [self.act(observations[0])]
