from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from representation.benchmarks import memory_upgrades
from representation.benchmarks.claims import BenchOptions
from representation.benchmarks.memory_upgrades import Reader, Task, filled, measure, split
from representation.compatibility.retrieval import retrieval_cmc_map
from representation.data.frames import LABEL, Frames, write_frames
from representation.embedding import embed
from representation.registry import load_encoder

EPISODES, LENGTH, CLASSES = 45, 9, 6


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> Frames:
    """Episodes of pictures in the colour of their class, and a benchmark that is as small."""
    sizes = {
        "MEMORY": 150,
        "LABELLED": 140,
        "QUERIES": 20,
        "SEARCHES": 4,
        "WIDTHS": (8, 8, 12),
        "DIM": 6,
        "VERTICES": 8,
    }
    for name, value in (sizes | {"ANCHORS": 12, "PATHS": ("oca", "relative_representations", "reindex")}).items():
        monkeypatch.setattr(memory_upgrades, name, value)
    rng = np.random.default_rng(0)
    episode = np.repeat(np.arange(EPISODES), LENGTH)
    labels, colors = episode % CLASSES, rng.integers(40, 215, (CLASSES, 1, 1, 3))
    images = colors[labels] + rng.integers(-30, 30, (len(labels), 32, 32, 3))
    return Frames(images.astype(np.uint8), episode, {LABEL: labels})


def test_parts_are_whole_episodes_and_none_is_in_two(frames):
    parts = split(frames, seed=1)
    held = [number for part in (parts.memory, parts.labelled, parts.queries) for number in set(part.episode)]
    assert len(held) == len(set(held))
    for part, least in ((parts.memory, 150), (parts.labelled, 140), (parts.queries, 20)):
        assert least <= len(part) < least + LENGTH
        assert len(part) == LENGTH * len(set(part.episode))


def test_too_few_frames_are_told(frames):
    with pytest.raises(ValueError, match="expected more than 310 frames in whole episodes, found 306"):
        split(frames.subset(np.arange(306)), seed=0)


def test_memories_are_upgraded_twice_by_the_command_and_searches_stay_right(frames, tmp_path):
    parts = split(frames, 0)
    with Reader() as reader:
        found = measure(parts, tmp_path, 0, BenchOptions(scale=0.05), reader)
    for path in ("oca", "relative_representations", "reindex"):
        for turn in (1, 2):
            assert found[f"{path} {turn} right meanwhile"] == found[f"{path} {turn} right afterwards"] == 1
            assert 0 < found[f"{path} {turn} mAP"] <= 1
    for turn in (0, 1, 2):  # what the third way holds is what each encoder makes of the pictures
        encoder = load_encoder(tmp_path / f"encoder{turn}")
        asked, stored = (torch.from_numpy(embed(encoder, part)) for part in (parts.queries, parts.memory))
        labels = [torch.from_numpy(part.columns[LABEL]) for part in (parts.queries, parts.memory)]
        expected = retrieval_cmc_map(asked, stored, *labels, exclude_self=False)["mAP"]
        assert found[f"reindex {turn} mAP"] == pytest.approx(expected, abs=1e-3)
    assert found["oca 2 pictures encoded for the memory"] == 0
    assert found["reindex 2 pictures encoded for the memory"] >= 150
    assert found["relative_representations 1 pictures encoded for the memory"] == 2 * 12


def test_a_reader_tells_wrong_answers(frames, tmp_path):
    parts = split(frames, 0)
    memory_upgrades.save_encoders(parts.labelled, tmp_path, 0, BenchOptions(scale=0.05))
    write_frames(parts.memory, tmp_path / "stored")
    memory = filled(tmp_path / "memory", tmp_path / "stored", tmp_path / "encoder0")
    task = Task.of(memory, tmp_path / "encoder0", parts.queries, forever=False)
    assert [task.is_right(memory, number) for number in range(4)] == [True] * 4
    other = replace(task, best=task.best - 1e-3)
    assert not any(other.is_right(memory, number) for number in range(4))
    assert not replace(task, key="oca_00000000").is_right(memory, 0)
