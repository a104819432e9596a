from __future__ import annotations

import json

import numpy as np
import pytest

from representation.data.frames import Frames, write_frames
from representation.disentanglement import main, sources_of
from representation.pretrain import main as pretrain


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    color, place = rng.integers(0, 3, 120), rng.uniform(-1, 1, (120, 2)).astype(np.float32)
    images = np.zeros((120, 16, 16, 3), np.uint8)
    for image, c, (x, y) in zip(images, color, place, strict=True):
        column, row = int(6 * (x + 1)), int(6 * (y + 1))
        image[row : row + 4, column : column + 4, c] = 255
    columns = {"color": color, "label": color, "place": place, "fixed": np.ones(120, np.float32)}
    return Frames(images, np.arange(120), columns, {"color": ("r", "g", "b"), "label": ("r", "g", "b")})


def test_factors_are_numbered_or_told_by_quantiles(frames):
    names, sources = sources_of(frames, (), 4)
    assert names == ("color", "place 0", "place 1")
    assert np.array_equal(sources[:, 0], frames.columns["color"])
    assert np.bincount(sources[:, 1]).tolist() == [30, 30, 30, 30]
    assert all(np.diff(np.sort(frames.columns["place"][sources[:, 2] == 3, 1])) >= 0)
    assert frames.columns["place"][sources[:, 2] == 3, 1].min() > frames.columns["place"][sources[:, 2] == 2, 1].max()
    assert sources_of(frames, ("color",), 4)[0] == ("color",)
    with pytest.raises(ValueError, match=r"expected \['weight'\]"):
        sources_of(frames, ("weight",), 4)
    with pytest.raises(ValueError, match="factors: expected some that change"):
        sources_of(frames, ("fixed",), 4)
    with pytest.raises(ValueError, match="bins: expected at least 2"):
        sources_of(frames, (), 1)


def test_encoders_are_measured_and_shown(frames, tmp_path, capsys):
    write_frames(frames, tmp_path / "data")
    for system, settings in (("qlae", ["resolution=16", "channels=4"]), ("mochi", ["queue_size=64", "n_hard=16"])):
        words = [
            "--system",
            system,
            "--data",
            str(tmp_path / "data"),
            "--output",
            str(tmp_path / system),
            "--steps",
            "2",
        ]
        pretrain([*words, "--batch-size", "16", "--threads", "1", "--set", *settings])
    capsys.readouterr()
    words = ["--encoders", str(tmp_path / "qlae"), str(tmp_path / "mochi"), "--data", str(tmp_path / "data")]
    main([*words, "--output", str(tmp_path / "report")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "120 frames, factors color, place 0, place 1"
    content = json.loads((tmp_path / "report" / "infomec.json").read_text())
    assert len(content["encoders"]) == 2
    for line, found in zip(lines[2:], content["encoders"].values(), strict=True):
        assert [float(word) for word in line.split()[1:4]] == pytest.approx(
            [found["infom"], found["infoe"], found["infoc"]], abs=6e-4
        )
    pictures = sorted(path.name for path in (tmp_path / "report").glob("*.png"))
    assert pictures == ["0_qlae_information.png", "0_qlae_traversals.png", "1_mochi_information.png"]
    with pytest.raises(SystemExit, match="expected a new or empty directory"):
        main([*words, "--output", str(tmp_path / "report")])
