import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from representation.data.shapes import shapes
from representation.equivariant.ponita import Config, load, new

SMALL = Config(points=24, hidden=8, layers=2, scalars=8, vectors=4)


@pytest.fixture(scope="module")
def frames():
    return shapes(16, 32, seed=0)


@pytest.mark.parametrize(("num_ori", "tolerance"), [(-1, 1e-4), (48, 0.1)])
def test_what_is_told_of_points_turns_with_the_cloud(frames, num_ori, tolerance):
    config = Config(points=24, hidden=8, layers=2, num_ori=num_ori, neighbours=4, anchors=2)
    encoder = new(config, frames, seed=0).encoder.eval()
    points = torch.from_numpy(frames.columns["points"])
    turn = torch.from_numpy(Rotation.random(rng=0).as_matrix()).float()
    with torch.no_grad():
        before, after = encoder.features(points), encoder.features(2 * points @ turn.T + 3.0)
    assert before.rows.tolist() == [row * 32 // 24 for row in range(24)]
    for one, other in ((before.scalars, after.scalars), (before.vectors @ turn.T, after.vectors)):
        assert float((one - other).norm() / one.norm()) < tolerance


def test_new_encoders_are_calibrated_so_that_training_changes_weights_by_gradients_alone(frames):
    objective = new(SMALL, frames, seed=0)
    assert all(block.conv.calibrated for block in objective.encoder.network.blocks)
    before = [parameter.clone() for parameter in objective.parameters()]
    objective(objective.batch(frames, np.arange(4), torch.Generator().manual_seed(0)))
    assert all(torch.equal(a, b) for a, b in zip(before, objective.parameters(), strict=True))


def test_damaged_configurations_are_named(frames, tmp_path):
    new(SMALL, frames, seed=0).encoder.save(tmp_path)
    file = tmp_path / "encoder.json"
    file.write_text(file.read_text().replace("hidden", "concealed"))
    with pytest.raises(ValueError, match=r"expected the configuration of an encoder of ponita"):
        load(tmp_path)


def test_clouds_of_too_few_points_are_refused(frames):
    encoder = new(SMALL, frames, seed=0).encoder
    with pytest.raises(ValueError, match=r"points: expected \(B, 7 or more, 3\), found \(2, 6, 3\)"):
        encoder.encode(torch.zeros(2, 6, 3))
