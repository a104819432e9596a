"""`SimulatorStatus`: what `simulator_node` tells about its episode, as JSON on `simulator_node/status`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from sim.episode_id import EpisodeId


@dataclass(frozen=True, slots=True)
class SimulatorStatus:
    """How an episode stands.

    Attributes:
        episode: the episode; None before the first reset.
        instruction: what is to be done.
        steps: control steps so far.
        success: whether the task's goal state held.
        progress: from 0 to 1, the most that was reached.
        done: whether the episode is over.
        error: why the episode cannot go on; empty while it can.
        answer_s: wall-clock seconds from each observation's publication to the trajectory that answered it.
        joint_targets: positions of all knots of all trajectories taken, in order; given when the episode is over.
        jerk: of the commanded arm joints so far, rad/s^3, see `sim.simulation.TaskStatus`.
    """

    episode: EpisodeId | None = None
    instruction: str = ""
    steps: int = 0
    success: bool = False
    progress: float = 0.0
    done: bool = False
    error: str = ""
    answer_s: tuple[float, ...] = ()
    joint_targets: tuple[tuple[float, ...], ...] = field(default=(), repr=False)
    jerk: float = 0.0

    @property
    def over(self) -> bool:
        """Whether the episode has ended, well or not."""
        return self.done or bool(self.error)

    def to_json(self) -> str:
        """JSON text; floats keep every bit."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> SimulatorStatus:
        """Inverse of `to_json`.

        Raises:
            ValueError: the text is no status.
        """
        try:
            data = json.loads(text)
            if data["episode"] is not None:
                data["episode"] = EpisodeId(**data["episode"])
            data["answer_s"] = tuple(data["answer_s"])
            data["joint_targets"] = tuple(tuple(row) for row in data["joint_targets"])
            return cls(**data)
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"simulator status: expected its JSON, found {text[:200]!r}: {error}") from error
