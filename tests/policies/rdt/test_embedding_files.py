from __future__ import annotations

import warnings

import pytest
import torch
from safetensors.torch import save_file

from policies.rdt import embedding_files
from policies.rdt.embedding_files import EmbeddingCache, read_embedding, write_embedding

TOKENS = torch.arange(24.0).reshape(3, 8)


class CountingEncoder:
    width = 8

    def __init__(self, identity="first"):
        self.identity = identity
        self.texts = []

    def __call__(self, text):
        self.texts.append(text)
        return torch.full((len(text) + 1, 8), float(len(self.identity)))


def test_a_bare_tensor_is_read(tmp_path):
    torch.save(TOKENS.bfloat16(), tmp_path / "a.pt")
    stored = read_embedding(tmp_path / "a.pt", width=8)
    assert torch.equal(stored.tokens, TOKENS.bfloat16())
    assert stored.instruction is None


def test_a_dict_of_the_deployment_is_read(tmp_path):
    content = {"name": "cube", "instruction": "Lift the cube.", "embeddings": TOKENS[None]}
    torch.save(content, tmp_path / "a.pt")
    stored = read_embedding(tmp_path / "a.pt", width=8)
    assert torch.equal(stored.tokens, TOKENS)
    assert stored.instruction == "Lift the cube."


def test_safetensors_come_back_as_written(tmp_path):
    path = tmp_path / "deeper" / "a.safetensors"
    write_embedding(path, TOKENS.half(), "Lift.", "encoder 1")
    stored = read_embedding(path, width=8)
    assert torch.equal(stored.tokens, TOKENS.half())
    assert (stored.instruction, stored.encoder) == ("Lift.", "encoder 1")
    assert [file.name for file in path.parent.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TOKENS[:, :4], r"expected an embedding \(L, 8\) with 1 <= L <= 1024, found \(3, 4\)"),
        (torch.zeros(0, 8), r"found \(0, 8\)"),
        (torch.zeros(1, 1).expand(2**40, 8), rf"found \({2**40}, 8\)"),
        (TOKENS * torch.nan, "expected finite floating-point values"),
        (TOKENS.long(), r"found others \(torch.int64\)"),
        ({"embeddings": TOKENS}, r"with 'embeddings' \(1, L, width\), found \['embeddings'\] of shape \(3, 8\)"),
        ({"tokens": TOKENS[None]}, r"found \['tokens'\]"),
        ([TOKENS], "found list"),
    ],
)
def test_other_contents_are_refused_with_file_and_finding(tmp_path, content, message):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=rf"a\.pt: .*{message}"):
        read_embedding(tmp_path / "a.pt", width=8)


class Malicious:
    def __reduce__(self):
        return print, ("this must not run",)


def test_pickled_code_does_not_run(tmp_path, capsys):
    torch.save({"embeddings": Malicious()}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="expected a file of tensors alone"):
        read_embedding(tmp_path / "a.pt", width=8)
    assert capsys.readouterr().out == ""


def test_damaged_large_absent_and_unknown_files_are_named(tmp_path, monkeypatch):
    for name in ("a.pt", "a.safetensors"):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(ValueError, match=f"{name}: expected"):
            read_embedding(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"b\.pt"):
        read_embedding(tmp_path / "b.pt")
    (tmp_path / "a.npy").touch()
    with pytest.raises(ValueError, match=r"expected \.safetensors or \.pt, found '\.npy'"):
        read_embedding(tmp_path / "a.npy")
    save_file({"other": TOKENS}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"expected one tensor 'embeddings', found \['other'\]"):
        read_embedding(tmp_path / "a.safetensors")
    monkeypatch.setattr(embedding_files, "MAX_FILE_BYTES", 3)
    with pytest.raises(ValueError, match="expected at most 3 bytes"):
        read_embedding(tmp_path / "a.safetensors")


def test_the_cache_encodes_a_text_once_for_each_encoder(tmp_path):
    first, second = CountingEncoder("first"), CountingEncoder("another")
    for _ in range(2):
        for text in ("lift", ""):
            assert EmbeddingCache(tmp_path, first)(text).shape == (len(text) + 1, 8)
        assert EmbeddingCache(tmp_path, second)("lift")[0, 0] == 7
    assert (first.texts, second.texts) == (["lift", ""], ["lift"])


@pytest.mark.parametrize("damage", [b"", b"half a file"])
def test_a_damaged_file_of_the_cache_is_written_anew_with_a_warning(tmp_path, damage):
    cache = EmbeddingCache(tmp_path, CountingEncoder())
    expected = cache("lift")
    cache.path("lift").write_bytes(damage)
    with pytest.warns(UserWarning, match="encoding 'lift' anew"):
        assert torch.equal(cache("lift"), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(cache("lift"), expected)


def test_a_file_under_the_wrong_name_is_not_believed(tmp_path):
    cache = EmbeddingCache(tmp_path, CountingEncoder())
    cache("push it")
    cache.path("push it").rename(cache.path("lift"))
    with pytest.warns(UserWarning, match="expected 'lift', found 'push it'"):
        assert len(cache("lift")) == 5
