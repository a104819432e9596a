from __future__ import annotations

import numpy as np
import pytest
import torch

from representation.cascade import main, prefix_logits
from representation.data.frames import write_frames
from representation.pretraining import mochi
from representation.pretraining.matryoshka import Config, new
from representation.pretraining.small_encoder import SmallEncoder
from tests.representation.test_pretrain import colored


def test_the_command_tells_how_many_numbers_the_cascade_needs(tmp_path, capsys):
    frames = colored(96)
    write_frames(frames, tmp_path / "data")
    encoder = new(Config(), frames, 0).encoder
    encoder.save(tmp_path / "encoder")
    main(["--encoder", str(tmp_path / "encoder"), "--data", str(tmp_path / "data")])
    lines = capsys.readouterr().out.splitlines()
    rows = [list(map(float, line.split())) for line in lines[1:-1]]
    assert [row[0] for row in rows] == list(encoder.nesting)
    assert sum(row[2] for row in rows) == pytest.approx(1, abs=0.01)
    mean = sum(row[0] * row[2] for row in rows)
    words = lines[-1].split()
    assert words[0] == "cascade:"
    assert float(words[4]) == pytest.approx(mean, abs=0.01 * encoder.nesting[-1])
    assert float(words[2]) > 0.9


def test_each_prefix_has_a_classifier_that_sees_no_more():
    frames = colored(32)
    encoder = new(Config(), frames, 0).encoder.eval()
    fitted = np.arange(24)
    before = prefix_logits(encoder, frames, "label", fitted)
    with torch.no_grad():
        encoder.head.weight[encoder.nesting[0] :] = 0
    after = prefix_logits(encoder, frames, "label", fitted)
    torch.testing.assert_close(before[0], after[0])
    assert not torch.allclose(before[-1], after[-1])


def test_other_encoders_and_missing_columns_are_refused(tmp_path):
    frames = colored(32)
    write_frames(frames, tmp_path / "data")
    SmallEncoder("mochi", mochi.Config()).save(tmp_path / "other")
    with pytest.raises(ValueError, match="expected an encoder of matryoshka, found SmallEncoder"):
        main(["--encoder", str(tmp_path / "other"), "--data", str(tmp_path / "data")])
    encoder = new(Config(), frames, 0).encoder
    encoder.save(tmp_path / "encoder")
    with pytest.raises(ValueError, match=r"expected \['shape'\]"):
        main(["--encoder", str(tmp_path / "encoder"), "--data", str(tmp_path / "data"), "--column", "shape"])
