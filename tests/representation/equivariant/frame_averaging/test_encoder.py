import pytest
import torch
from scipy.spatial.transform import Rotation

from representation.data.shapes import shapes
from representation.equivariant.frame_averaging import Config, load, new


@pytest.fixture(scope="module")
def frames():
    return shapes(16, 64, seed=0)


@pytest.mark.parametrize("local", [False, True])
def test_what_is_told_of_points_turns_with_the_cloud_of_any_size(frames, local):
    encoder = new(Config(points=48, local=local), frames, seed=0).encoder.eval()
    points = torch.from_numpy(frames.columns["points"])
    turn = torch.from_numpy(Rotation.random(rng=0).as_matrix()).float()
    with torch.no_grad():
        before, after = encoder.features(points), encoder.features(2 * points @ turn.T + 3.0)
    assert before.rows.tolist() == [row * 64 // 48 for row in range(48)]
    for one, other in ((before.scalars, after.scalars), (before.vectors @ turn.T, after.vectors)):
        assert float((one - other).norm(dim=1).median() / one.norm(dim=1).median()) < 1e-3


def test_damaged_configurations_and_small_clouds_are_named(frames, tmp_path):
    encoder = new(Config(), frames, seed=0).encoder
    with pytest.raises(ValueError, match=r"points: expected \(B, 20 or more, 3\), found \(2, 8, 3\)"):
        encoder.encode(torch.zeros(2, 8, 3))
    encoder.save(tmp_path)
    file = tmp_path / "encoder.json"
    file.write_text(file.read_text().replace("neighbours", "friends"))
    with pytest.raises(ValueError, match="expected the configuration of an encoder of frame_averaging"):
        load(tmp_path)
