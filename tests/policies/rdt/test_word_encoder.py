from __future__ import annotations

import json

import pytest
import torch

from policies.rdt.word_encoder import WordEncoder, vocabulary, words_of


def test_words_are_the_vocabulary_and_others_are_unknown():
    encoder = WordEncoder(vocabulary(["Pick up the cup.", "push the cup"]), 4)
    assert encoder.words == ("<end>", "<unknown>", "cup", "pick", "push", "the", "up")
    assert encoder.ids("Push the BOTTLE.") == [4, 5, 1, 0]
    assert encoder("").shape == (1, 4)
    assert words_of("don't stop!") == ["don", "'", "t", "stop", "!"]


def test_it_comes_back_from_disk_and_its_identity_follows_its_weights(tmp_path):
    encoder = WordEncoder(["cup", "pick"], 4)
    encoder.save_pretrained(tmp_path)
    loaded = WordEncoder.from_directory(tmp_path)
    assert torch.equal(loaded("pick cup"), encoder("pick cup"))
    assert loaded.identity == encoder.identity
    with torch.no_grad():
        encoder.table.weight[0] += 1
    assert loaded.identity != encoder.identity


@pytest.mark.parametrize("words", [["cup"], "cup", [1, 2], None])
def test_words_that_do_not_fit_their_vectors_are_refused(tmp_path, words):
    WordEncoder(["cup", "pick"], 4).save_pretrained(tmp_path)
    (tmp_path / "words.json").write_text(json.dumps({"words": words}))
    with pytest.raises(ValueError, match=r"words\.json|table\.weight"):
        WordEncoder.from_directory(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    WordEncoder(["cup"], 4).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        WordEncoder.from_directory(tmp_path)
