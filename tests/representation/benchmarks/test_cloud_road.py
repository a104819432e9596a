from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from representation.benchmarks.claims import BenchOptions
from representation.benchmarks.cloud_road import (
    ANY,
    MAKERS,
    OURS,
    PLAIN,
    SHARES,
    TURN,
    TURNED,
    UNITS,
    UPRIGHT,
    Settings,
    run,
    split,
    train,
)
from representation.benchmarks.point_net import PointNet, PointNetConfig
from representation.data.clouds import frames_of_clouds
from representation.data.frames import write_frames
from representation.equivariant.cloud_report import errors_on, main
from representation.equivariant.cloud_targets import Known, known_of

OBJECTS, VIEWS = 8, 4


def grasp_clouds():
    """Noise of which all is said to be known: two classes of four objects."""
    rng, count = np.random.default_rng(0), OBJECTS * VIEWS
    normals, approach = rng.normal(size=(count, 40, 3)), rng.normal(size=(count, 3))
    columns = {
        "label": np.arange(count) // VIEWS % 2,
        "freedom": np.arange(count) % 2,
        "normals": normals / np.linalg.norm(normals, axis=2, keepdims=True),
        "approach": approach / np.linalg.norm(approach, axis=1, keepdims=True),
        "pose": np.concatenate([rng.normal(size=(count, 3)), Rotation.random(count, rng=0).as_quat()], axis=1),
    }
    frames = frames_of_clouds(rng.normal(size=(count, 40, 3)).astype(np.float32), columns, {})
    frames.episode[:] = np.arange(count) // VIEWS
    return frames


def test_tests_are_of_other_objects_of_all_classes():
    frames = grasp_clouds()
    training, upright, lying = split(frames, 0, Settings(held_out=1))
    assert not set(frames.episode[training]) & set(frames.episode[upright])
    assert set(frames.columns["label"][upright]) == {0, 1}
    assert len(training) == 6 * VIEWS // 2
    assert len(upright) == len(lying) == 2 * VIEWS // 2
    assert not frames.columns["freedom"][np.concatenate([training, upright])].any()
    assert frames.columns["freedom"][lying].all()
    with pytest.raises(ValueError, match="more than 4 objects of each class"):
        split(frames, 0, Settings(held_out=4))


def test_every_network_is_told_of_at_each_share_of_the_data_and_in_each_pose(monkeypatch):
    def error(name, share, test, target):
        return 1.0 + len(name) + share

    keys = product(MAKERS, SHARES, (UPRIGHT, TURN, ANY), UNITS)
    found = {key: error(*key) for key in keys}
    monkeypatch.setattr("representation.benchmarks.cloud_road.open_frames", lambda _: grasp_clouds())
    monkeypatch.setattr("representation.benchmarks.cloud_road.scores", lambda *_: found)
    monkeypatch.setattr("pathlib.Path.is_dir", lambda _: True)
    claims = run(BenchOptions(seeds=2))
    for share in SHARES:
        told = [claim for claim in claims if f"{TURN}, {share:.0%} of the clouds" in claim.claim]
        for name in OURS:
            assert any(
                claim.claim.endswith(f": {name}") and claim.ours[0] == -error(name, share, 0, 0) for claim in told
            )
        for name in (PLAIN, TURNED):
            assert any(claim.baseline_name == name for claim in told)


@pytest.mark.parametrize("name", MAKERS)
def test_every_network_tells_all_targets(name):
    frames = grasp_clouds()
    objective = MAKERS[name](frames, 0)
    train(objective, frames, Settings(steps=1, batch=8), 0)
    found = errors_on(objective.encoder, frames, np.arange(6), turn=True)
    assert set(found) == {"label", "normals", "approach", "rotation", "center"}
    assert all(len(values) == 6 and np.isfinite(values).all() for values in found.values())


def test_a_point_net_does_not_mind_the_order_of_points_nor_where_the_cloud_is():
    torch.manual_seed(0)
    network, points = PointNet(PointNetConfig(points=20), Known(2)), torch.randn(2, 20, 3)
    order = torch.randperm(20)
    before, after = network.features(points), network.features(3 * points[:, order] + 1)
    torch.testing.assert_close(after.scalars, before.scalars[:, order], atol=1e-5, rtol=0)
    torch.testing.assert_close(network.encode(points[:, order]), network.encode(points), atol=1e-5, rtol=0)


def test_the_report_tells_how_far_a_saved_encoder_is_off(tmp_path, capsys):
    frames = grasp_clouds()
    write_frames(frames, tmp_path / "data")
    MAKERS["Gaunt"](frames, 0).encoder.save(tmp_path / "encoder")
    main(["--encoder", str(tmp_path / "encoder"), "--data", str(tmp_path / "data"), "--turn"])
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["target"][-2:] == ["32", "clouds"]
    assert set(rows) == {"target", "label", "normals", "approach", "rotation", "center"}
    mute = frames_of_clouds(frames.columns["points"], {"label": frames.columns["label"]}, {})
    assert known_of(mute) == Known(2)
    with pytest.raises(ValueError, match=r"frames: expected \['approach', 'center', 'normals', 'rotation'\]"):
        errors_on(MAKERS["Gaunt"](frames, 0).encoder, mute, np.arange(2))


def test_clouds_that_are_not_there_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m sim\.object_clouds"):
        run(BenchOptions(data=tmp_path / "renders"))
