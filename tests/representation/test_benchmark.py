import json

import numpy as np
import torch

from representation.benchmark import main
from representation.data.frames import SEGMENTATION, Frames, write_frames
from representation.pretraining.mochi import Config
from representation.pretraining.small_encoder import SmallEncoder

WORDS = [
    "--classification.epochs",
    "4",
    "--segmentation.steps",
    "6",
    "--segmentation.warmup-steps",
    "1",
    "--segmentation.channels",
    "8",
    "--segmentation.evaluate-every",
    "3",
    "--report.epochs",
    "2",
    "--report.sizes.width",
    "16",
    "--report.sizes.feedforward",
    "16",
    "--report.sizes.layers",
    "1",
    "--report.beam",
    "1",
    "--report.sizes.longest",
    "8",
    "--fractions",
    "0.5",
    "1.0",
    "--seeds",
    "0",
    "1",
    "--threads",
    "1",
]


def scenes(count=40):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2 * count, 16, 16, 3)).astype(np.uint8)
    episode = np.repeat(np.arange(count), 2)
    masks = (images[..., 0] > 127).astype(np.uint8)
    shown = np.stack([episode % 2, episode % 3 == 0], axis=1).astype(np.uint8)
    names = {SEGMENTATION: ("dark", "red"), "shown": ("even", "third")}
    texts = [f"the cube is {'left' if number % 2 else 'right'} ." for number in episode]
    return Frames(images, episode, {SEGMENTATION: masks, "shown": shown}, names, texts)


def test_the_command_ranks_encoders_in_three_tasks(tmp_path, capsys):
    write_frames(scenes(), tmp_path / "data")
    for seed in range(2):
        encoder = SmallEncoder("mochi", Config(width=16), torch.Generator().manual_seed(seed))
        encoder.save(tmp_path / f"run{seed}")
    words = ["--encoders", str(tmp_path / "run0"), str(tmp_path / "run1"), "--data", str(tmp_path / "data")]
    words += ["--output", str(tmp_path / "out"), *WORDS]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "classification auroc 50 %" in printed
    assert "segmentation mdice 100 %" in printed
    assert "report bleu_4 100 %" in printed
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 2 * 3 * 2 * 2
    ranks = json.loads((tmp_path / "out" / "table.json").read_text())["ranking"]
    assert sum(ranks.values()) == 3.0


def test_what_cannot_be_compared_is_told(tmp_path, capsys):
    write_frames(scenes(), tmp_path / "data")
    encoder = SmallEncoder("mochi", Config(width=16), torch.Generator().manual_seed(0))
    encoder.save(tmp_path / "run")
    words = ["--encoders", str(tmp_path / "run"), str(tmp_path / "run"), "--data", str(tmp_path / "data")]
    assert main([*words, "--output", str(tmp_path / "out")]) == 1
    assert "error: --encoders: expected directories with different names" in capsys.readouterr().err
    words = ["--encoders", str(tmp_path / "run"), "--data", str(tmp_path / "data"), "--label", "colour"]
    assert main([*words, "--output", str(tmp_path / "out")]) == 1
    assert "error: frames: expected ['colour']" in capsys.readouterr().err
