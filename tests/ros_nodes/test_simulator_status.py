from __future__ import annotations

import numpy as np
import pytest

from ros_nodes.simulator_status import SimulatorStatus
from sim.episode_id import EpisodeId


def test_a_status_survives_json_to_the_last_bit():
    rng = np.random.default_rng(0)
    targets = tuple(tuple(row) for row in rng.normal(size=(5, 8)).tolist())
    status = SimulatorStatus(
        EpisodeId("pick", "nominal", 1, 3, 7), "pick it", 12, True, 1 / 3, True, "", (0.1,), targets
    )
    assert SimulatorStatus.from_json(status.to_json()) == status
    assert SimulatorStatus.from_json(SimulatorStatus().to_json()) == SimulatorStatus()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"episode": {"task": 1}}'])
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match="simulator status"):
        SimulatorStatus.from_json(text)
