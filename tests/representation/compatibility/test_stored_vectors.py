from __future__ import annotations

import numpy as np
import pytest

from representation.compatibility import stored_vectors
from representation.compatibility.stored_vectors import VectorFile, read_vectors

VECTORS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
EPISODE = np.arange(6) // 2


@pytest.mark.parametrize("labels", [None, np.arange(6) % 3])
def test_a_memory_comes_back_with_and_without_classes(labels, tmp_path):
    names = () if labels is None else ("cup", "plate", "Löffel")
    VectorFile(VECTORS, EPISODE, labels, names).write(tmp_path / "memory.npz")
    found = read_vectors(tmp_path / "memory.npz")
    np.testing.assert_array_equal(found.vectors, VECTORS)
    np.testing.assert_array_equal(found.episode, EPISODE)
    assert (found.labels is None) == (labels is None)
    other = found.rewritten(VECTORS[:, :2])
    assert other.vectors.shape == (6, 2)
    assert other.labels is found.labels
    assert found.names == other.names == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"vectors": VECTORS}, "episode"),
        ({"vectors": VECTORS[0], "episode": EPISODE}, r"vectors: expected finite numbers \(N, D\), found \(3,\)"),
        ({"vectors": VECTORS * np.nan, "episode": EPISODE}, "vectors: expected finite numbers"),
        ({"vectors": VECTORS, "episode": EPISODE[:5]}, r"episode: expected \(6,\), found \(5,\)"),
        (
            {"vectors": VECTORS, "episode": EPISODE, "label": EPISODE - 1},
            "label: expected numbers of classes, found -1",
        ),
        ({"vectors": np.array([{}], dtype=object), "episode": EPISODE}, r"expected vectors as representation\.embed"),
    ],
)
def test_other_files_are_refused(content, message, tmp_path):
    np.savez(tmp_path / "memory.npz", **content)
    with pytest.raises(ValueError, match=message):
        read_vectors(tmp_path / "memory.npz")


def test_a_file_that_would_not_fit_is_not_opened(tmp_path, monkeypatch):
    VectorFile(VECTORS, EPISODE).write(tmp_path / "memory.npz")
    monkeypatch.setattr(stored_vectors, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="expected at most 100 bytes"):
        read_vectors(tmp_path / "memory.npz")
    (tmp_path / "memory.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"expected vectors as representation\.embed writes them"):
        read_vectors(tmp_path / "memory.npz")
