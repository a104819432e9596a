"""An episode memory whose encoder is replaced."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from representation.checkpoint import encoder_key
from representation.compatibility import oca
from representation.compatibility.class_prototypes import class_prototypes, write_prototypes
from representation.compatibility.retrieval import prefix_similarity
from representation.data.frames import write_frames
from representation.embedding import embed
from representation.memory.__main__ import main as memory_main
from representation.memory.episode_memory import EpisodeMemory
from representation.memory.schema import EPISODES, FRAMES
from representation.memory.search import SearchOptions
from representation.registry import load_encoder
from representation.upgrade import main
from tests.representation.test_upgrade import QUICK, colored


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Frames, two encoders, and class prototypes of the first."""
    root = tmp_path_factory.mktemp("parts")
    write_frames(colored(), root / "data")
    write_frames(colored(48, seed=2, with_labels=False), root / "past")
    oca.new(oca.Config(dim=8), colored(), seed=0).encoder.save(root / "old")
    oca.new(oca.Config(dim=12), colored(), seed=1).encoder.save(root / "new")
    features = torch.from_numpy(embed(load_encoder(root / "old"), colored()))
    write_prototypes(class_prototypes(features, torch.arange(96) % 4, 4), root / "prototypes.safetensors")
    return root


@pytest.fixture
def memory(parts, tmp_path):
    memory_main(["add", f"{tmp_path / 'memory'}", "--encoders", f"{parts / 'old'}", "--data", f"{parts / 'past'}"])
    return tmp_path / "memory"


def upgraded(parts, memory, output, *extra):
    """Key of the encoder that a memory was upgraded to, and it."""
    named = {"memory": memory, "new-encoder": parts / "new", "data": parts / "data", "output": output}
    main([word for name, value in named.items() for word in (f"--{name}", f"{value}")] + [*QUICK, *extra])
    return encoder_key(output), load_encoder(output)


def in_order(memory, table, key):
    rows, vectors = memory.vectors(table, key)
    return vectors[np.argsort([row.episode * 1000 + row.frame for row in rows])]


def test_a_longer_encoder_finds_what_a_shorter_one_stored(parts, memory, tmp_path):
    prototypes = ("--prototypes", f"{parts / 'prototypes.safetensors'}")
    key, encoder = upgraded(parts, memory, tmp_path / "run", "--old-encoder", f"{parts / 'old'}", *prototypes)
    opened, old = EpisodeMemory(memory), encoder_key(parts / "old")
    assert encoder.width == 8 + 16
    assert set(opened.encoders(FRAMES)) == {old, key}
    stored = in_order(opened, FRAMES, old)
    np.testing.assert_allclose(stored, embed(load_encoder(parts / "old"), colored(48, seed=2)), atol=1e-5)
    query = embed(encoder, colored(4, seed=3))[1]
    hits = opened.search(FRAMES, key, query, SearchOptions(k=48))
    wanted = prefix_similarity(torch.from_numpy(query[None]), torch.from_numpy(stored))[0].sort(descending=True)
    assert [4 * hit.row.episode + hit.row.frame for hit in hits] == wanted.indices.tolist()
    np.testing.assert_allclose([hit.similarity for hit in hits], wanted.values, atol=1e-5)
    np.testing.assert_allclose(in_order(opened, EPISODES, key)[:, :8], in_order(opened, EPISODES, old), atol=1e-5)
    # New entries stand beside the old ones.
    memory_main(["add", f"{memory}", "--encoders", f"{tmp_path / 'run'}", "--data", f"{parts / 'data'}"])
    assert EpisodeMemory(memory).count(FRAMES, key=key) == 48 + 96


def test_the_memory_becomes_coordinates_or_is_made_anew(parts, memory, tmp_path):
    old = ("--old-encoder", f"{parts / 'old'}")
    key, encoder = upgraded(
        parts, memory, tmp_path / "a", *old, "--anchors", f"{parts / 'past'}", "--path", "relative_representations"
    )
    coordinates = in_order(EpisodeMemory(memory), FRAMES, key)
    assert coordinates.shape == (48, encoder.width)
    assert np.abs(coordinates).max() <= 1 + 1e-6  # cosines
    key, encoder = upgraded(parts, memory, tmp_path / "b", "--key", encoder_key(parts / "old"), "--memory-data",
                            f"{parts / 'past'}", "--path", "reindex")  # fmt: skip
    anew = embed(encoder, colored(48, seed=2))
    np.testing.assert_allclose(in_order(EpisodeMemory(memory), FRAMES, key), anew, atol=1e-6)


def test_a_memory_without_such_vectors_is_refused_and_left(parts, memory, tmp_path):
    with pytest.raises(ValueError, match="--key: expected the old encoder's, or --old-encoder, found neither"):
        upgraded(parts, memory, tmp_path / "run")
    with pytest.raises(ValueError, match=r"expected vectors of one of .*, found 'oca_0' asked for"):
        upgraded(parts, memory, tmp_path / "run", "--key", "oca_0")
    with pytest.raises(ValueError, match=r"--key: expected none, as .*npz is no episode memory, found 'oca_0'"):
        upgraded(parts, memory.with_suffix(".npz"), tmp_path / "run", "--key", "oca_0")
    assert set(EpisodeMemory(memory).encoders(FRAMES)) == {encoder_key(parts / "old")}
