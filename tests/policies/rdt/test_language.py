from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5EncoderModel, T5ForConditionalGeneration, T5Tokenizer

from policies.rdt.language import T5TextEncoder, pad_embeddings

WORDS = ["<pad>", "</s>", "<unk>", "▁", "▁pick", "▁up", "▁the", "▁red", "▁cube"]
SIZES = {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 2, "feed_forward_proj": "gated-gelu"}


@pytest.fixture(scope="module")
def whole():
    """Encoder and decoder of a tiny T5-v1.1."""
    torch.manual_seed(0)
    return T5ForConditionalGeneration(T5Config(vocab_size=len(WORDS), tie_word_embeddings=False, **SIZES)).eval()


@pytest.fixture
def directory(tmp_path, whole):
    T5Tokenizer(vocab=[(word, -1.0) for word in WORDS], extra_ids=0).save_pretrained(tmp_path)
    whole.config.save_pretrained(tmp_path)
    save_file({key: value.clone() for key, value in whole.state_dict().items()}, tmp_path / "model.safetensors")
    return tmp_path


def test_an_embedding_is_the_encoders_last_hidden_state_with_the_end_token(directory, whole):
    embedding = T5TextEncoder.from_directory(directory)("pick up the red cube")
    assert embedding.shape == (6, 16)
    expected = whole.encoder(input_ids=torch.tensor([[4, 5, 6, 7, 8, 1]])).last_hidden_state[0]
    torch.testing.assert_close(embedding, expected)


@pytest.mark.parametrize("tied", [True, False])
def test_an_encoder_alone_loads_whatever_its_configuration_says_of_its_tables(tmp_path, tied):
    encoder = T5EncoderModel(T5Config(vocab_size=len(WORDS), tie_word_embeddings=tied, **SIZES)).eval()
    encoder.save_pretrained(tmp_path)
    T5Tokenizer(vocab=[(word, -1.0) for word in WORDS], extra_ids=0).save_pretrained(tmp_path)
    expected = encoder(input_ids=torch.tensor([[8, 1]])).last_hidden_state[0]
    torch.testing.assert_close(T5TextEncoder.from_directory(tmp_path)("cube"), expected)


def test_the_empty_text_is_one_end_token(directory, whole):
    embedding = T5TextEncoder.from_directory(directory)("")
    torch.testing.assert_close(embedding, whole.encoder(input_ids=torch.tensor([[1]])).last_hidden_state[0])
    assert embedding.abs().max() > 0


def test_a_text_of_1024_tokens_passes_and_a_longer_one_is_refused(directory):
    encoder = T5TextEncoder.from_directory(directory)
    assert encoder(" ".join(["cube"] * 1023)).shape == (1024, 16)
    with pytest.raises(ValueError, match="expected at most 1024 tokens with the end token, found 1025"):
        encoder(" ".join(["cube"] * 1024))


def test_the_encoder_is_frozen_and_takes_the_number_format_asked_for(directory):
    encoder = T5TextEncoder.from_directory(directory, dtype="bfloat16")
    assert encoder("cube").dtype == torch.bfloat16
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_identity_differs_with_weights_tokenizer_and_number_format(directory):
    first = T5TextEncoder.from_directory(directory).identity
    assert T5TextEncoder.from_directory(directory).identity == first
    identities = {first, T5TextEncoder.from_directory(directory, dtype="bfloat16").identity}
    tensors = load_file(directory / "model.safetensors")
    tensors["encoder.final_layer_norm.weight"] += 0.1
    save_file(tensors, directory / "model.safetensors")
    identities.add(T5TextEncoder.from_directory(directory).identity)
    T5Tokenizer(vocab=[(word, -1.0) for word in WORDS[:-1]], extra_ids=0).save_pretrained(directory)
    identities.add(T5TextEncoder.from_directory(directory).identity)
    assert len(identities) == 4


def test_what_is_missing_is_named(directory):
    tensors = load_file(directory / "model.safetensors")
    del tensors["encoder.block.1.layer.0.SelfAttention.q.weight"]
    save_file(tensors, directory / "model.safetensors")
    with pytest.raises(ValueError, match=r"missing are \['encoder.block.1.layer.0.SelfAttention.q.weight'\]"):
        T5TextEncoder.from_directory(directory)
    (directory / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected a tokenizer, one of \['tokenizer.json', 'spiece.model'\]"):
        T5TextEncoder.from_directory(directory)
    (directory / "spiece.model").write_bytes(b"\xff no model")
    with pytest.raises(ValueError, match="expected a readable tokenizer"):
        T5TextEncoder.from_directory(directory)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(directory):
    T5Tokenizer(vocab=[(word, -1.0) for word in [*WORDS, "▁ball"]], extra_ids=0).save_pretrained(directory)
    with pytest.raises(ValueError, match="expected at most 9 tokens, those of the model, found 10"):
        T5TextEncoder.from_directory(directory)


def test_batches_are_padded_with_zeros_and_masked():
    batch, mask = pad_embeddings([torch.ones(1, 4), 2 * torch.ones(3, 4)])
    assert mask.tolist() == [[True, False, False], [True, True, True]]
    assert batch.shape == (2, 3, 4)
    assert not batch[~mask].any()
    torch.testing.assert_close(batch[1], 2 * torch.ones(3, 4))


@pytest.mark.parametrize("wrong", [torch.ones(0, 4), torch.ones(2, 5), torch.ones(1025, 4), torch.ones(1, 2, 4)])
def test_embeddings_that_make_no_batch_are_named(wrong):
    with pytest.raises(ValueError, match=r"embeddings\[1\]: expected \(L, 4\) with 1 <= L <= 1024"):
        pad_embeddings([torch.ones(2, 4), wrong])
    with pytest.raises(ValueError, match="at least one"):
        pad_embeddings([])
