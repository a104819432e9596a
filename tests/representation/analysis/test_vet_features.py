import numpy as np
import pytest

from representation.analysis.vet_features import VetOptions, main, vet_features
from representation.data.frames import Frames, write_frames


@pytest.fixture(scope="module")
def frames():
    """A force that follows the weight in every setup, and a light that follows the force as each setup likes it."""
    rng = np.random.default_rng(0)
    readings, forces = [], []
    for setup in range(24):
        weight = rng.normal(size=60) + setup
        force = 2 * weight + 0.1 * rng.normal(size=60) + rng.normal()
        light = rng.uniform(-2, 2) * force + 0.1 * rng.normal(size=60)
        readings.append(np.stack([weight, light], axis=1))
        forces.append(force)
    columns = {"reading": np.concatenate(readings), "force": np.concatenate(forces)}
    count = len(columns["force"])
    return Frames(np.zeros((count, 8, 8, 3), np.uint8), np.repeat(np.arange(24), 60), columns)


def test_the_reading_whose_rule_holds_in_every_setup_is_found(frames, tmp_path, capsys):
    write_frames(frames, tmp_path)
    words = ["--data", str(tmp_path), "--outcome", "force", "--features", "reading:0", "reading:1"]
    report = vet_features(frames, VetOptions(tmp_path, "force", ("reading:0", "reading:1"), tolerance=0.1))
    assert [one.subset for one in report.accepted] == [(0,)]
    assert report.kept == (1.0,)
    assert report.explained[0] > 0.98
    assert report.pooled_kept < 0.2
    assert report.allowed == pytest.approx(1 - (0.05 / 3) ** (1 / (report.fitted - 1)))
    main([*words, "--tolerance", "0.1"])
    assert "1 subsets keep their rule in 17 environments" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcome": "reading"}, "reading: expected one number a frame"),
        ({"outcome": "reading:2"}, "reading:2: expected an entry of reading"),
        ({"outcome": "torque"}, r"expected \['torque'\]"),
        ({"environment": "text"}, "texts"),
        ({"environment": "force"}, "expected at least 4 environments of 15 frames, found 0"),
    ],
)
def test_what_cannot_be_vetted_is_named(frames, tmp_path, change, message):
    options = {"data": tmp_path, "outcome": "force", "features": ("reading:0", "reading:1"), **change}
    with pytest.raises(ValueError, match=message):
        vet_features(frames, VetOptions(**options))
