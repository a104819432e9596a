import subprocess
import sys

import numpy as np
import pytest

from representation.selection.benchx import splits
from representation.selection.benchx.splits import random_splits, read_splits, stratified_splits, write_splits

WRITE = """
import runpy
import sys
from pathlib import Path
import numpy as np
splits = runpy.run_path(sys.argv[1])
splits["write_splits"](splits["stratified_splits"](np.random.default_rng(0).integers(0, 4, 997)), Path(sys.argv[2]))
"""


def test_the_same_seed_writes_the_same_files_in_two_processes(tmp_path):
    labels = np.random.default_rng(0).integers(0, 4, 997)
    write_splits(stratified_splits(labels), tmp_path / "one")
    subprocess.run([sys.executable, "-c", WRITE, splits.__file__, str(tmp_path / "two")], check=True)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["test.txt", "train.txt", "train_1.txt", "train_10.txt", "val.txt"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    read, drawn = read_splits(tmp_path / "one", 997), stratified_splits(labels)
    assert all(np.array_equal(read[name], drawn[name]) for name in drawn)
    assert not np.array_equal(stratified_splits(labels, seed=7)["train"], drawn["train"])


@pytest.mark.parametrize("seed", [0, 42])
def test_parts_are_alike_in_classes_disjoint_and_complete(seed):
    labels = np.random.default_rng(seed).choice(5, 1203, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    parts = stratified_splits(labels, seed)
    whole = np.concatenate([parts["train"], parts["val"], parts["test"]])
    assert np.array_equal(np.sort(whole), np.arange(1203))
    counts = {name: np.bincount(labels[rows], minlength=5) for name, rows in parts.items()}
    held_out = counts["val"] + counts["test"]
    exact = [
        ("train", 0.7 * np.bincount(labels)),
        ("val", held_out / 2),
        ("test", held_out / 2),
        ("train_10", 0.1 * counts["train"]),
        ("train_1", 0.01 * counts["train"]),
    ]
    for name, expected in exact:
        assert (np.abs(counts[name] - expected) <= 1).all(), name
    assert set(parts["train_1"]) <= set(parts["train"])


def test_several_labels_are_dealt_out_evenly():
    rng = np.random.default_rng(0)
    labels = (rng.random((600, 14)) < rng.uniform(0.02, 0.6, 14)).astype(int)
    parts = stratified_splits(labels)
    assert [len(parts[name]) for name in ("train", "val", "test", "train_10")] == [420, 90, 90, 42]
    shuffled = rng.permutation(600)[:90]
    even, uneven = (
        np.abs(labels[rows].sum(axis=0) - 0.15 * labels.sum(axis=0)).mean() for rows in (parts["test"], shuffled)
    )
    assert even < 2
    assert even < uneven / 1.5


def test_what_cannot_be_split_is_told():
    with pytest.raises(ValueError, match="labels: expected at least two classes, found"):
        stratified_splits(np.zeros(100, int))
    with pytest.raises(ValueError, match=r"train_1: expected a case of each of 10 classes in both parts of 140 cases"):
        stratified_splits(np.arange(200) % 10)
    with pytest.raises(ValueError, match="labels: expected finite ones"):
        stratified_splits(np.array([0.0, np.nan, 1.0]))
    with pytest.raises(ValueError, match=r"fractions: expected in \(0, 1\], found 1.5"):
        stratified_splits(np.arange(100) % 2, fractions=(1.5,))
    with pytest.raises(ValueError, match="cases: expected enough for train_1, found 40"):
        random_splits(40)


def test_damaged_files_are_told(tmp_path):
    write_splits({"train": np.array([0, 1]), "val": np.array([2]), "test": np.array([1])}, tmp_path)
    with pytest.raises(ValueError, match="found case 1 in two"):
        read_splits(tmp_path, 4)
    with pytest.raises(ValueError, match=r"test.txt: expected numbers of 1 cases"):
        read_splits(tmp_path, 1)
    (tmp_path / "val.txt").write_text("two\n")
    with pytest.raises(ValueError, match=r"val.txt: expected a number a line"):
        read_splits(tmp_path, 4)
    (tmp_path / "val.txt").unlink()
    with pytest.raises(ValueError, match=r"expected val.txt, found \['test', 'train'\]"):
        read_splits(tmp_path, 4)
