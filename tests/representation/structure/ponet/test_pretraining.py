from __future__ import annotations

import pytest
import torch

from representation.structure.ponet import (
    PoNetConfig,
    PoNetEncoder,
    PoNetForPretraining,
    hide_tokens,
    ordered_pairs,
)
from representation.structure.ponet.pretraining import CLS, IGNORED, MARKS, MASK, PAD, SEP

VOCAB = 40
# Chunk c has the sentences [10 c + 4, 10 c + 4], [10 c + 5, 10 c + 5], ...: a token tells chunk and sentence.
CHUNKS = [[[10 * c + 4 + s] * (2 + c % 2) for s in range(4)] for c in range(3)]


def pairs_of(count: int = 300):
    return ordered_pairs(CHUNKS, [n % 3 for n in range(count)], torch.Generator().manual_seed(0))


def new_model() -> PoNetForPretraining:
    torch.manual_seed(0)
    return PoNetForPretraining(PoNetEncoder(PoNetConfig(vocab=VOCAB, dim=16, max_len=24, norm="post", dropout=0.0)))


def test_pairs_are_in_order_swapped_or_of_another_chunk_and_labelled_so():
    pairs = pairs_of()
    assert pairs.orders.bincount().min() > 70
    for row, (tokens, order) in enumerate(zip(pairs.tokens.tolist(), pairs.orders.tolist(), strict=True)):
        text = [token for token in tokens if token != PAD]
        middle = text.index(SEP)
        assert text[0] == CLS
        assert text[-1] == SEP
        assert tokens[len(text) :] == [PAD] * (len(tokens) - len(text))
        first, second = text[1:middle], text[middle + 1 : -1]
        assert first == sorted(first)
        assert second == sorted(second)
        whole = [token for sentence in CHUNKS[row % 3] for token in sentence]
        if order == 0:
            assert first + second == whole
        elif order == 1:
            assert second + first == whole
        else:
            assert whole[: len(first)] == first
            assert (second[0] - MARKS) // 10 != row % 3
            assert second[-1] % 10 == 7  # the last sentence of the other chunk


def test_each_sentence_and_each_mark_is_a_segment():
    pairs = pairs_of(30)
    for tokens, segments, present in zip(pairs.tokens, pairs.segments, pairs.present, strict=True):
        shown = tokens[present].tolist()
        expected, last = [], None
        for token in shown:
            expected.append(0 if last is None else expected[-1] + (token != last))
            last = token
        assert segments[present].tolist() == expected


def test_marks_are_never_hidden_and_hidden_tokens_are_the_targets():
    pairs = pairs_of(3000)
    shown, targets = hide_tokens(pairs, VOCAB, torch.Generator().manual_seed(1))
    hidden, plain = targets != IGNORED, pairs.present & ~pairs.marks
    assert not (hidden & ~plain).any()
    assert torch.equal(targets[hidden], pairs.tokens[hidden])
    assert torch.equal(shown[~hidden], pairs.tokens[~hidden])
    assert float(hidden.sum() / plain.sum()) == pytest.approx(0.15, abs=0.01)
    masked, stayed = shown[hidden] == MASK, shown[hidden] == targets[hidden]
    assert float(masked.float().mean()) == pytest.approx(0.8, abs=0.02)
    assert float(stayed.float().mean()) == pytest.approx(0.1 + 0.1 / (VOCAB - MARKS), abs=0.02)
    assert (shown[hidden & (shown != MASK)] >= MARKS).all()


def test_orders_are_told_of_the_first_token_and_padding_changes_nothing():
    model, pairs = new_model().eval(), pairs_of(6)
    words, orders = model(pairs.tokens, pairs.segments, pairs.present, pairs.marks)
    assert words.shape == (*pairs.tokens.shape, VOCAB)
    assert orders.shape == (6, 3)
    for row in range(6):
        here = pairs.present[row]
        parts = (part[row, here][None] for part in (pairs.tokens, pairs.segments, pairs.present, pairs.marks))
        alone, order = model(*parts)
        torch.testing.assert_close(alone[0], words[row, here])
        torch.testing.assert_close(order[0], orders[row])


def test_the_loss_is_that_of_hidden_tokens_and_of_orders_and_reaches_all_weights():
    model, pairs = new_model(), pairs_of(12)
    loss = model.loss(pairs, torch.Generator().manual_seed(2))
    shown, targets = hide_tokens(pairs, VOCAB, torch.Generator().manual_seed(2))
    words, orders = model(shown, pairs.segments, pairs.present, pairs.marks)
    logs, choices = words.log_softmax(dim=-1), orders.log_softmax(dim=-1)
    by_token = [-logs[b, n, targets[b, n]] for b, n in (targets != IGNORED).nonzero().tolist()]
    by_order = [-choices[b, order] for b, order in enumerate(pairs.orders.tolist())]
    torch.testing.assert_close(loss, sum(by_token) / len(by_token) + sum(by_order) / len(by_order))
    loss.backward()
    assert all(one.grad is not None and torch.isfinite(one.grad).all() for one in model.parameters())


def test_training_lowers_the_loss():
    model, generator = new_model(), torch.Generator().manual_seed(3)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = model.loss(ordered_pairs(CHUNKS, [n % 3 for n in range(24)], generator), generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="chunks: expected at least 2, found 1"):
        ordered_pairs([[[5], [6]]], [0], torch.Generator())
    for chunk in ([[5]], [[5], []], [[5], [SEP]]):
        with pytest.raises(ValueError, match="chunk: expected at least 2 sentences of tokens from 4"):
            ordered_pairs([chunk, [[6], [7]]], [0], torch.Generator())
    with pytest.raises(ValueError, match="encoder: expected more than 4 tokens, found 0"):
        PoNetForPretraining(PoNetEncoder(PoNetConfig(in_features=3)))
