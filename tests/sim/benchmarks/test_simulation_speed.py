from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from sim.benchmarks import simulation_speed
from sim.benchmarks.simulation_speed import (
    CONTESTANTS,
    FRAME_SIZES,
    OURS,
    Contestant,
    SpeedSettings,
    compare,
    format_markdown,
    format_text,
    frame_costs,
    run,
)

_SECONDS_PER_STEP = {"polyarm": 0.02, "robosuite": 0.4, "gym_aloha": 0.5}


def _measurement(contestant: Contestant, seed: int) -> dict[str, Any]:
    per_step = _SECONDS_PER_STEP[contestant.system] * (1 + 0.1 * seed)
    return {
        "steps": 10,
        "seconds": 10 * per_step,
        "cpu_seconds": 5 * per_step,
        "render_seconds": 8 * per_step,
        "render_calls": 10,
        "control_hz": 20,
        "physics_steps": 25,
        "gl_backend": "egl",
        "versions": {"mujoco": "3.9.0", "numpy": "2.0.0"},
    }


def test_ratios_are_between_medians_and_say_how_many_times_faster_ours_is() -> None:
    entries = compare({c.name: [_measurement(c, seed) for seed in range(3)] for c in CONTESTANTS})
    by_name = {entry["name"]: entry for entry in entries}
    assert by_name[OURS]["ratio"] == {"wall": 1.0, "cpu": 1.0}
    lift = by_name["robosuite Lift"]
    assert lift["ratio"] == {"wall": pytest.approx(20.0), "cpu": pytest.approx(20.0)}
    assert lift["steps_per_s"] == {
        "median": pytest.approx(1 / 0.44),
        "min": pytest.approx(1 / 0.48),
        "max": pytest.approx(1 / 0.4),
    }
    assert lift["render_share"] == pytest.approx(0.8)
    assert lift["cpu_ms_per_step"] == pytest.approx(220.0)


def test_contestants_take_turns_and_the_tables_name_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[tuple[int, str]] = []

    def measured(_: Path, contestant: Contestant, seed: int, __: float) -> dict[str, Any]:
        order.append((seed, contestant.name))
        return _measurement(contestant, seed)

    monkeypatch.setattr(simulation_speed, "_python", lambda *_: Path(sys.executable))
    monkeypatch.setattr(simulation_speed, "_measure", measured)
    monkeypatch.setattr(simulation_speed, "frame_costs", lambda: frame_costs(frames=1))
    result = run(SpeedSettings(repetitions=2))
    assert order == [(seed, contestant.name) for seed in range(2) for contestant in CONTESTANTS]
    for text in (format_text(result), format_markdown(result)):
        assert all(contestant.name in text for contestant in CONTESTANTS)
        assert "20.0 times those of robosuite Lift" in text
        assert f"{result['machine']['cores']} cores" in text
    assert [(e["profile"], e["width"], e["height"]) for e in result["frames"]] == [
        (profile, *size) for profile in ("fast", "quality") for size in FRAME_SIZES
    ]


def test_a_system_that_cannot_run_is_named_with_the_end_of_its_output() -> None:
    # This Python holds our packages, not robosuite.
    robosuite = next(contestant for contestant in CONTESTANTS if contestant.system == "robosuite")
    with pytest.raises(RuntimeError, match=r"(?s)robosuite Lift: could not be measured.*No module named 'robosuite'"):
        simulation_speed._measure(Path(sys.executable), robosuite, 0, 0.1)


def test_ours_is_measured_in_a_process_of_its_own() -> None:
    simulation_speed.choose_gl_backend()
    result = simulation_speed._measure(Path(sys.executable), CONTESTANTS[0], 0, 0.01)
    assert result["steps"] == result["render_calls"] >= 10
    assert result["gl_backend"] in ("egl", "osmesa")


def test_settings_that_measure_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"seconds > 0 and repetitions >= 1, found 7\.0 s and 0 repetitions"):
        SpeedSettings(repetitions=0)
