from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from representation.memory.grounded_language.games import ReferentialGame, WithinClassGame
from representation.memory.grounded_language.message import Message
from representation.memory.grounded_language.pair_sampler import PairSampler
from representation.memory.grounded_language.receiver import SymbolReceiver
from representation.memory.grounded_language.sender import SymbolSender


def game_of(kind, **options):
    torch.manual_seed(0)
    visions = [nn.Sequential(nn.Flatten(), nn.Linear(12, 8)) for _ in range(2)]
    return kind(SymbolSender(visions[0], 8, 5, 3), SymbolReceiver(visions[1], 8, 5), **options)


def batch_of(groups, count):
    generator = torch.Generator().manual_seed(0)
    sent, candidates = torch.rand(2, groups, count, 3, 2, 2, generator=generator)
    return {"sent": sent, "candidates": candidates}


@pytest.mark.parametrize("kind", [ReferentialGame, WithinClassGame])
def test_losses_are_those_of_each_group_by_itself(kind):
    game, batch, expected = game_of(kind).eval(), batch_of(2, 4), []
    for sent, candidates in zip(batch["sent"], batch["candidates"], strict=True):
        scores, right = game.receiver(game.sender(sent), candidates), torch.arange(4)
        losses = [F.cross_entropy(scores, right)]
        if kind is WithinClassGame:
            losses.append(F.cross_entropy(scores.T, right))
        expected.append(sum(losses) / len(losses))
    torch.testing.assert_close(game.loss(batch).total, sum(expected) / 2)


def test_even_use_of_symbols_costs_nothing_and_a_single_one_most():
    game, batch = game_of(ReferentialGame, balance=2.0).eval(), batch_of(1, 4)
    game.sender.logits.weight.data.zero_()
    game.sender.logits.bias.data.zero_()
    assert float(game.loss(batch).parts["uneven"].detach()) == pytest.approx(0.0, abs=1e-6)
    even = float(game.loss(batch).total.detach())
    game.sender.logits.bias.data[2] = 50.0
    with torch.no_grad():
        one = game.loss(batch)
    assert float(one.parts["uneven"]) == pytest.approx(math.log(5), abs=1e-5)
    plain = game_of(ReferentialGame).eval()
    plain.load_state_dict(game.state_dict())
    with torch.no_grad():
        without = plain.loss(batch).total
    assert float(one.total - without) == pytest.approx(2 * math.log(5), abs=1e-4)
    assert even != float(one.total)


def test_the_receiver_knows_of_the_picture_what_the_message_says_and_no_more():
    game, batch = game_of(WithinClassGame), batch_of(1, 10)
    message = game.sender(batch["sent"][0])
    constant = Message(torch.eye(5)[torch.zeros(10, 3, dtype=torch.long)], message.ids, message.logits)
    scores = game.scores(constant, batch["candidates"])
    torch.testing.assert_close(scores, scores[:, :1].expand_as(scores))
    hits = (scores[0].argmax(dim=1) == torch.arange(10)).float().mean()
    assert float(hits) == pytest.approx(0.1)
    sent = batch["sent"][0].requires_grad_()
    message = game.sender(sent)
    severed = Message(message.onehot.detach(), message.ids, message.logits)
    assert game.receiver(message, batch["candidates"][0]).sum().requires_grad
    (through,) = torch.autograd.grad(game.receiver(message, batch["candidates"][0]).sum(), sent)
    assert through.abs().max() > 0
    (around,) = torch.autograd.grad(game.receiver(severed, batch["candidates"][0]).sum(), sent, allow_unused=True)
    assert around is None


def test_exchanged_messages_are_asked_about_the_pictures_at_their_new_places():
    game, batch = game_of(ReferentialGame).eval(), batch_of(1, 10)
    message, generator = game.sender(batch["sent"][0]), torch.Generator().manual_seed(0)
    for order in (torch.arange(10), *(torch.randperm(10, generator=generator) for _ in range(5))):
        exchanged = Message(message.onehot[order], message.ids[order], message.logits[order])
        scores = game.receiver(exchanged, batch["candidates"][0])
        expected = (scores.argmax(dim=1) == torch.arange(10)).float().mean()
        assert game.accuracy(batch, order) == float(expected)
    assert game.accuracy(batch) == game.accuracy(batch, torch.arange(10))


def test_pairs_are_two_examples_of_different_classes():
    labels, generator = torch.arange(40) % 7, torch.Generator().manual_seed(0)
    sampler = PairSampler(labels, 5)
    for _ in range(10_000):
        first, second = sampler.draw(generator)
        assert (first != second).all()
        kinds = labels[first].tolist()
        assert kinds == labels[second].tolist()
        assert len(set(kinds)) == 5


def test_classes_without_pairs_are_left_out_and_none_is_refused():
    sampler = PairSampler([0, 1, 1, 2, 2], 10)
    assert sampler.count == 2
    with pytest.raises(ValueError, match="labels: expected two examples of a class, found none in 3"):
        PairSampler([0, 1, 2], 2)
