from __future__ import annotations

import pytest
import torch

from policies.rdt.embedding_files import write_embedding
from policies.rdt.embedding_folder import EmbeddingFolder


def test_instructions_are_found_by_text_and_by_the_name_of_their_file(tmp_path):
    first, second, third = torch.randn(3, 2, 8)
    write_embedding(tmp_path / "a.safetensors", first, "Pick up the cup.", "test")
    torch.save({"name": "x", "instruction": "fold it", "embeddings": second[None]}, tmp_path / "b.pt")
    torch.save(third, tmp_path / "pour_the_water.pt")
    folder = EmbeddingFolder(tmp_path, 8)
    assert torch.equal(folder("pick up the cup"), first)
    assert torch.equal(folder("Fold it."), second)
    assert torch.equal(folder("pour the water"), third)
    with pytest.raises(ValueError, match=r"expected one of .*'fold it'.* \(3 were encoded\), found 'sing'"):
        folder("sing")


def test_a_copy_knows_the_same_instructions(tmp_path):
    write_embedding(tmp_path / "a" / "a.safetensors", torch.ones(2, 8), "pick", "test")
    EmbeddingFolder(tmp_path / "a", 8).save_pretrained(tmp_path / "b")
    assert torch.equal(EmbeddingFolder(tmp_path / "b", 8)("pick"), torch.ones(2, 8))


def test_none_and_doubled_and_narrow_embeddings_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected embeddings"):
        EmbeddingFolder(tmp_path, 8)
    write_embedding(tmp_path / "a.safetensors", torch.ones(2, 8), "pick", "test")
    write_embedding(tmp_path / "b.safetensors", torch.ones(2, 8), "Pick.", "test")
    with pytest.raises(ValueError, match=r"b\.safetensors: expected one embedding of 'Pick\.'"):
        EmbeddingFolder(tmp_path, 8)
    with pytest.raises(ValueError, match=r"\(L, 9\)"):
        EmbeddingFolder(tmp_path, 9)
