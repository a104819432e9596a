from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from representation import pretraining, registry
from representation.data.frames import Frames, write_frames
from representation.embedding import embed
from representation.interface import Encoder
from representation.list import ListOptions, lines
from representation.pretrain import main

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"


@pytest.fixture
def frames():
    """Pictures that are brighter at the top, so that a turn of them can be told."""
    shade = np.linspace(240, 20, 32)[None, :, None, None] + np.random.default_rng(0).normal(0, 8, (64, 32, 32, 3))
    return Frames(shade.clip(0, 255).astype(np.uint8), np.arange(64))


@pytest.fixture
def rotation(tmp_path, monkeypatch):
    """The page's system, where the page says that it stands."""
    file, entry = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "rotation.py").write_text(file, encoding="utf-8")
    monkeypatch.setattr(pretraining, "__path__", [*pretraining.__path__, str(tmp_path)])
    monkeypatch.setattr(registry, "SYSTEMS", dict(registry.SYSTEMS))
    exec(entry, {"SYSTEMS": registry.SYSTEMS, "System": registry.System})
    monkeypatch.setattr("representation.list.SYSTEMS", registry.SYSTEMS)


def test_the_system_of_the_page_is_listed_trains_and_comes_back(rotation, frames, tmp_path):
    assert "rotation" in "\n".join(lines(ListOptions()))
    assert "--set width=64" in "\n".join(lines(ListOptions("rotation")))
    write_frames(frames, tmp_path / "data")
    words = ["--system", "rotation", "--data", str(tmp_path / "data"), "--output", str(tmp_path / "run")]
    words += ["--steps", "40", "--batch-size", "16", "--validation-episodes", "16", "--validate-every", "40"]
    words += ["--warmup-steps", "4", "--lr", "0.01", "--average-decay", "0.5", "--threads", "1", "--set", "width=16"]
    main(words)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["validation/error/wrong_turn"] < 0.3
    encoder = registry.load_encoder(tmp_path / "run")
    assert isinstance(encoder, Encoder)
    assert embed(encoder, frames).shape == (64, 16)
