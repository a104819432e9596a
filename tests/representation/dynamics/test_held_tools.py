from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from representation.benchmarks.held_tools import CALM, DT, KNOCK, LAST, innovations, pendulums
from representation.dynamics.hamiltonian_meta import HamiltonianConfig, HamiltonianNet, train, watch
from representation.dynamics.hamiltonian_meta.windows import FILE, read_held_tools
from tests.representation.dynamics.test_joint_readings import write_bag, write_dataset


def write_tools(directory, windows: int = 3) -> None:
    """Swings of 6 rad/s, the second of which is stopped, and free swings of several frequencies."""
    times = np.arange(500) * 0.01
    rng = np.random.default_rng(0)

    def swing(rate):
        return np.stack([np.cos(rate * times), -rate * np.sin(rate * times)], axis=1)

    readings = np.stack([0.4 * swing(6.0)] * windows)
    readings[1, 400:] *= 0.7
    rates = np.array([4.0, 6.0, 8.0, 9.0])
    states = np.stack([swing(rate) for rate in rates])
    slopes = np.stack([states[:, :, 1], -(rates[:, None] ** 2) * states[:, :, 0]], axis=2)
    directory.mkdir()
    np.savez(
        directory / FILE,
        dt=0.01,
        calm_s=3.0,
        readings=readings + rng.normal(0, [1e-3, 5e-3], readings.shape),
        event=np.arange(windows) % 3,
        event_s=np.full(windows, 4.0),
        **{
            f"{kind}_{part}": x
            for kind in ("pendulum", "spring")
            for part, x in (("states", states), ("rates", slopes))
        },
    )


def test_the_commands_learn_from_free_swings_and_hear_what_was_stopped(tmp_path, capsys):
    write_tools(tmp_path / "tools")
    places = ["--tools", str(tmp_path / "tools")]
    train.main(["--output", str(tmp_path / "model"), *places, "--iterations", "10", "--hidden", "16", "--tasks", "2"])
    capsys.readouterr()
    watch.main(["--model", str(tmp_path / "model"), *places, "--json", "--count", "2", "--lr", "0.02"])
    calm, stopped = map(json.loads, capsys.readouterr().out.splitlines())
    assert calm["alarm_s"] is None
    assert stopped["event"] == "collision"
    assert 4.0 <= stopped["alarm_s"] < 4.5
    with pytest.raises(SystemExit, match="expected gnn for several numbers of bodies"):
        train.main(["--output", str(tmp_path / "other"), "--laws", "mass-spring", "2 bodies", "--trajectories", "2"])
    with pytest.raises(SystemExit, match="expected some of mass-spring"):
        train.main(["--output", str(tmp_path / "other"), "--laws", "moon"])


def test_recordings_are_watched_as_tools_are(tmp_path, capsys):
    torch.manual_seed(0)
    for coordinates in (1, 2):
        HamiltonianNet(HamiltonianConfig(coordinates=coordinates, hidden=32)).save(tmp_path / f"model{coordinates}")
    times, rng = np.arange(600) * 0.01, np.random.default_rng(0)
    readings = np.stack([0.4 * np.cos(6 * times), -2.4 * np.sin(6 * times)], axis=1)
    readings[450:] *= 0.7
    readings += rng.normal(0, [1e-3, 5e-3], readings.shape)
    write_bag(tmp_path / "bag", 100 + times, readings)
    write_dataset(tmp_path / "dataset", readings)
    words = ["--model", str(tmp_path / "model1"), "--joints", "swing", "--json", "--lr", "0.01"]
    sources = (
        ["--bag", str(tmp_path / "bag"), "--topic", "/tools/joint_states"],
        ["--dataset", str(tmp_path / "dataset")],
    )
    for source in sources:
        watch.main([*words, *source])
        told = json.loads(capsys.readouterr().out)
        assert told["event"] == "not known"
        assert 4.5 <= told["alarm_s"] < 5.6
    with pytest.raises(SystemExit, match="expected one, or several and an --mjcf, found finger, swing"):
        watch.main([*words[:3], "finger", "swing", *sources[1]])
    with pytest.raises(SystemExit, match="tools, dataset, bag: expected one of them"):
        watch.main([*words, *sources[0], *sources[1]])
    with pytest.raises(SystemExit, match="calm_s: expected 9 to 599 readings, found 700"):
        watch.main([*words, *sources[1], "--calm-s", "7"])
    links = "".join(
        f'<body><joint name="{name}" axis="0 1 0"/><geom type="capsule" fromto="0 0 0 0 0 -.3" size=".01"/></body>'
        for name in ("finger", "swing")
    )
    (tmp_path / "two.xml").write_text(f"<mujoco><worldbody>{links}</worldbody></mujoco>")
    words = ["--model", str(tmp_path / "model2"), "--joints", "finger", "swing", "--mjcf", str(tmp_path / "two.xml")]
    watch.main([*words, *sources[1], "--json", "--steps", "2"])
    assert np.isfinite(json.loads(capsys.readouterr().out)["sigmas"])


def test_files_that_are_none_or_damaged_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m sim\.held_tools --output"):
        read_held_tools(tmp_path)
    np.savez(tmp_path / FILE, dt=0.01)
    with pytest.raises(ValueError, match="expected the arrays dt, calm_s"):
        read_held_tools(tmp_path)
    (tmp_path / FILE).write_bytes(b"PK no archive")
    with pytest.raises(ValueError, match="expected an npz file of numbers"):
        read_held_tools(tmp_path)


def test_the_rival_foretells_a_swing_and_is_surprised_by_a_knock():
    times = np.arange(200) * 0.01
    readings = np.stack([np.cos(6 * times), -6 * np.sin(6 * times)], axis=1)
    readings[150:] *= 0.9
    surprise = innovations(readings, 100)
    assert np.abs(surprise[: 150 - LAST]).max() < 1e-9
    assert np.abs(surprise[150 - LAST]) > 0.01


def test_pendulums_are_the_same_until_they_are_knocked():
    for free, knocked, at in pendulums(3, seed=0):
        place = round(at / DT)
        assert place > CALM
        np.testing.assert_array_equal(free.positions[:place], knocked.positions[:place])
        np.testing.assert_array_equal(free.velocities[:place], knocked.velocities[:place])
        push = np.abs(knocked.velocities[place] - free.velocities[place])
        assert push == pytest.approx(KNOCK * np.abs(free.velocities).max(), rel=0.05)
