import numpy as np
import pytest
import torch

from policies.execution.kinematics import Kinematics
from policies.onboard import POSE, tool_pose
from policies.robots import get_robot
from representation.transfer.neural_cross_subject import SubjectData
from sim.benchmarks import new_robot
from sim.benchmarks.new_robot import ABOVE, ADAPTER, COMPOSED, RIDGE, SCRATCH, NewRobotSettings


@pytest.mark.parametrize("robot", ["panda", "aloha", "ur5e"])
def test_signals_are_of_an_arm_on_its_way_to_above_a_place(robot):
    places = np.array([[0.45, 0.1], [0.5, 0.15]])
    signals = new_robot.signals_above(robot, places, np.random.default_rng(0))
    spec = get_robot(robot)
    joints = len(spec.joint_names)
    assert signals.shape == (2, 2 * joints)
    kinematics, home = Kinematics(spec), Kinematics(spec).forward(spec.home)[:3, 3]
    for place, row in zip(places, signals, strict=True):
        tool, velocity = kinematics.forward(row[:joints])[:3, 3], kinematics.jacobian(row[:joints]) @ row[joints:]
        left = place - tool[:2]
        assert np.linalg.norm(left) < 0.6 * np.linalg.norm(place - home[:2])
        assert ABOVE[0] - 0.01 < tool[2] < max(ABOVE[1], home[2]) + 0.01
        goes = velocity[:2] / np.linalg.norm(velocity[:2])
        assert goes @ (place - home[:2]) / np.linalg.norm(place - home[:2]) > 0.9


def fake_samples(robot, tables, count, rng):
    spec = get_robot(robot)
    joints = rng.uniform(spec.home - 0.1, spec.home + 0.1, (count, len(spec.joint_names)))
    pose = torch.from_numpy(tool_pose(Kinematics(spec), joints))
    signals = torch.from_numpy(np.concatenate([joints, joints], axis=1)).float()
    return SubjectData(signals, pose[:, None, :8].contiguous(), None, {POSE: pose})


def test_all_ways_are_measured_and_laid_out(monkeypatch):
    monkeypatch.setattr(new_robot, "Tables", lambda: None)
    monkeypatch.setattr(new_robot, "draw_samples", fake_samples)
    settings = NewRobotSettings(
        known=("panda/aloha",), samples=(20, 100), joint_samples=40, tested=30, steps=4, new_steps=2, hidden=16, seeds=2
    )
    result = new_robot.run(settings)
    assert set(result["scores"]) == {
        SCRATCH,
        RIDGE,
        f"{ADAPTER}, after panda/aloha",
        "all trained on, after panda/aloha",
        f"{COMPOSED}, after panda/aloha",
    }
    assert all(len(rows) == 2 and len(rows[0]) == 2 for rows in result["scores"].values())
    assert np.mean([rows[1]["tool_m"] for rows in result["scores"][RIDGE]]) < 0.02
    page = new_robot.format_markdown(result)
    assert "| from scratch |" in page
    assert "panda/aloha: aloha: " in page
    assert "A new ur5e learns it" in page
    ratio = -np.mean(new_robot.claims(result)[0].ours)
    assert f"-{ratio:.3f}, asked -0.7" in new_robot.format_text(result)


def test_a_composed_decoder_is_better_on_its_samples_than_an_adapter_alone_and_leaves_the_model():
    rng, settings = np.random.default_rng(0), NewRobotSettings(steps=10, new_steps=20, hidden=16, samples=(60,))
    data = {name: fake_samples(name, None, 60, rng) for name in ("panda", "aloha")}
    model = new_robot.joint_model(("panda", "aloha"), data, settings, 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tuned = new_robot.tuned_models(model, data, settings, 0)
    samples = fake_samples("ur5e", None, 60, rng)
    composed = new_robot.compose(model, tuned, samples, samples, settings, 0)
    alone = new_robot.onboard(model, samples, samples, ADAPTER, settings, 0)
    assert composed.tool_m < alone.tool_m
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for one, other in (("panda", "aloha"), ("aloha", "panda")):
        changed = {
            name for name, value in tuned[list(data).index(one)].state_dict().items() if not value.equal(before[name])
        }
        assert any(name.startswith("decoder.") for name in changed)
        assert not any(name.startswith(f"adapters.{other}") or name.endswith(("mean", "deviation")) for name in changed)
    same = new_robot.compose(model, [model, model], samples, samples, settings, 0)
    assert same == alone
