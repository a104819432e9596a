from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from policies.interface import ActionChunk, Continuation, Observation
from sim.bench import main
from sim.benchmarks import circling
from sim.benchmarks.chunk_seams import LATENCY_S, METHODS, Circling, DelayedPolicy, TaskCourse, claims, drive


class ExactPolicy:
    """Goes round with the target, at another distance for each chunk that does not go on with the one before."""

    robot = circling.ROBOT.name
    cameras: tuple[str, ...] = ()
    control_hz = circling.HZ
    chunk_length = circling.ROWS

    def __init__(self) -> None:
        self.aside = 0.0

    def reset(self, seed: int | None = None) -> None:
        self.aside = 0.0

    def act(self, observation: Observation) -> ActionChunk:
        chunk = self.act_on(observation, Continuation(0))
        self.aside = circling.ASIDE if self.aside <= 0 else -circling.ASIDE
        return chunk

    def act_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        return [self.act(observation) for observation in observations]

    def act_on(self, observation: Observation, continuation: Continuation) -> ActionChunk:
        rows = np.tile(circling.ROBOT.home, (self.chunk_length, 1))
        rows[:, circling.JOINTS] = circling.motions(circling.phase_at([observation.stamp]), [self.aside])[0, 1:]
        committed = continuation.committed if continuation.method == "blend" else 0
        return ActionChunk(observation.stamp, 1 / self.control_hz, "joint", rows, committed=committed)


def test_a_delayed_policy_tells_its_time() -> None:
    policy = DelayedPolicy(ExactPolicy())
    seen = Observation(0.0, {}, circling.ROBOT.home, np.zeros(len(circling.ROBOT.home)), "")
    policy.act(seen)
    policy.act_on(seen, Continuation(1))
    assert policy.clock == pytest.approx(2 * LATENCY_S)


@pytest.mark.parametrize("method", METHODS)
def test_seams_and_missed_ticks_are_those_of_the_method(method: str) -> None:
    found = drive(ExactPolicy(), Circling(), method, 4.0, 0)
    assert found["refused"] == 0
    if method == "sync":
        assert 8 < found["missed ticks"] < 20  # 5 for each chunk but the first
    else:
        assert found["missed ticks"] == 0
        assert found["score"] > 0.8
        assert found["slowed"] == 0
    if method == "replace":
        assert found["largest seam"] > 3
        assert 2 < found["largest step"] < found["largest seam"]  # the gateway spreads the jump
    elif method != "sync":
        assert found["largest seam"] == pytest.approx(1.0, abs=0.1)
        assert found["largest step"] == pytest.approx(1.0, abs=0.1)
        assert found["unguided"] == (0 if method == "rtc blend" else found["chunks"])


def test_a_given_policy_drives_through_episodes_of_a_task() -> None:
    policy = ExactPolicy()
    course = TaskCourse(policy, "reach", 0)
    assert 1e-3 < course.median_step < 0.1
    found = drive(policy, course, "rtc guided", 2.0, 0)
    assert 0 <= found["score"] <= 1
    assert found["missed ticks"] == 0


def test_the_command_drives_by_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["chunk_seams", "--seams.steps", "2", "--seams.seeds", "1", "--seams.duration-s", "2", "--json"]
    assert main(given) == 0
    results = json.loads(capsys.readouterr().out)["chunk_seams"]["results"]
    assert {method: len(rows) for method, rows in results.items()} == dict.fromkeys(METHODS, 1)


def test_what_is_asked_must_hold_for_every_seed() -> None:
    good = {"largest seam": 1.2, "largest step": 1.3, "missed ticks": 0, "score": 0.9}
    rows = {method: [dict(good), dict(good)] for method in METHODS}
    for row in rows["sync"]:
        row |= {"missed ticks": 5, "score": 0.94}
    for row in rows["replace"]:
        row["largest seam"] = 4.0
    assert set(claims(rows).values()) == {True}
    worse = [("replace", "largest seam", 2.9), ("rtc guided", "largest seam", 1.6), ("rtc guided", "largest step", 1.6)]
    worse += [("sync", "missed ticks", 0), ("rtc blend", "missed ticks", 1), ("rtc guided", "score", 0.88)]
    for place, (method, name, value) in enumerate(worse):
        changed = rows | {method: [rows[method][0], rows[method][1] | {name: value}]}
        assert [number for number, holds in enumerate(claims(changed).values()) if not holds] == [place]


def test_a_given_policy_must_be_able_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chunk_seams", "--seams.policy", "noop"]) == 1
    assert "expected one that goes on with its chunks" in capsys.readouterr().err
