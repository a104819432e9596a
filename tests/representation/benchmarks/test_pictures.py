import cv2
import numpy as np
import pytest
import torch

from representation.bench import BENCHMARKS
from representation.benchmarks import binary_latent_diffusion, mmist, pictures, topkld
from representation.benchmarks.claims import BenchOptions
from representation.data.frames import SEGMENTATION, Frames, write_frames
from representation.generative.mmist.train import TrainSettings

MOST_BYTES = 400_000


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Frames of squares where the benchmarks look for theirs."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    images, shown = np.full((24, 64, 64, 3), 130, np.uint8), np.zeros((24, 64, 64), np.uint8)
    for image, kinds, (x, y) in zip(images, shown, rng.integers(0, 48, (24, 2)), strict=True):
        image[y : y + 16, x : x + 16] = rng.integers(0, 255, 3)
        kinds[y : y + 16, x : x + 16] = 1
    columns, names = {SEGMENTATION: shown, "changed": np.repeat([0, 1], 12)}, {SEGMENTATION: ("table", "square")}
    for name in ("renders", mmist.APPEARANCES):
        write_frames(Frames(images, np.arange(24), columns, names), root / name)
    return root / "renders"


def test_one_or_all_are_drawn_where_they_are_asked_for(tmp_path, monkeypatch, capsys):
    assert not set(pictures.PICTURES) - set(BENCHMARKS)
    drawn = []
    monkeypatch.setattr(
        pictures, "PICTURES", {"a": lambda *found: drawn.append(found), "b": lambda *_: drawn.append(())}
    )
    pictures.main(["a", "--output", str(tmp_path), "--scale", "0.5", "--threads", "1"])
    assert drawn == [(BenchOptions(scale=0.5), tmp_path / "a.png")]
    pictures.main(["--output", str(tmp_path), "--threads", "1"])
    assert len(drawn) == 3
    assert capsys.readouterr().out.count(str(tmp_path)) == 3
    with pytest.raises(SystemExit, match="expected one of a, b or all, found 'c'"):
        pictures.main(["c"])


@pytest.mark.parametrize("name", ["addp", "binary_latent_diffusion", "dts", "mmist", "topkld"])
def test_a_system_that_learned_for_a_moment_is_drawn(name, data, tmp_path, monkeypatch):
    for wanted in ("TRAINED", "KNOWN", "JUDGED"):
        monkeypatch.setattr(binary_latent_diffusion, wanted, 8)
    monkeypatch.setattr(mmist, "SETTINGS", TrainSettings(12, 1, 1, 1, 2, batch=4))
    monkeypatch.setattr(mmist, "TRAINED", 8)
    monkeypatch.setattr(mmist, "LOOK_PICTURES", 1)
    monkeypatch.setattr(topkld, "DRAWN", 24)
    monkeypatch.setattr(topkld, "ROUNDED_BITS", (4, 2))
    torch.set_num_threads(1)
    file = tmp_path / "new" / f"{name}.png"
    pictures.PICTURES[name](BenchOptions(scale=1e-3, data=data), file)
    assert cv2.imread(str(file)).std() > 5
    assert file.stat().st_size < MOST_BYTES
