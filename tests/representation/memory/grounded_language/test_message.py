from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare
from torch import nn

from representation.memory.grounded_language.message import chosen, gumbel_noise
from representation.memory.grounded_language.sender import SymbolSender


def sender_of(**options):
    torch.manual_seed(0)
    return SymbolSender(nn.Sequential(nn.Flatten(), nn.Linear(12, 8)), 8, 5, 3, **options)


def test_symbols_are_one_hot_with_the_gradient_of_the_soft_ones():
    generator = torch.Generator().manual_seed(0)
    logits, weights = (torch.randn(6, 5, generator=generator).requires_grad_() for _ in range(2))
    noise = gumbel_noise((6, 5), generator)
    hard, soft = (chosen(logits, noise, 0.7, straight_through) for straight_through in (True, False))
    torch.testing.assert_close(hard.sum(dim=1), torch.ones(6), atol=1e-6, rtol=0)
    torch.testing.assert_close(hard.max(dim=1).values, torch.ones(6), atol=1e-6, rtol=0)
    assert torch.equal(hard.argmax(dim=1), soft.argmax(dim=1))
    gradients = [torch.autograd.grad((one * weights).sum(), logits)[0] for one in (hard, soft)]
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().max() > 0


def test_draws_are_as_frequent_as_the_softmax_says():
    logits, count = torch.tensor([1.0, 0.0, -1.0, 2.0]), 20_000
    noise = gumbel_noise((count, 4), torch.Generator().manual_seed(0))
    found = chosen(logits.expand(count, 4), noise, 1.0, True).sum(dim=0)
    p = logits.softmax(dim=0)
    assert ((found - count * p).abs() < 3 * (count * p * (1 - p)).sqrt()).all()
    assert chisquare(found.double().numpy(), (count * p / p.sum()).double().numpy(), sum_check=False).pvalue > 0.001


def test_outside_of_training_a_sender_says_what_is_most_likely():
    sender, x = sender_of(), torch.rand(4, 3, 2, 2)
    noise = gumbel_noise((4, 3, 5), torch.Generator().manual_seed(0))
    assert torch.equal(sender(x, noise).ids, sender(x, noise).ids)
    assert not torch.equal(sender(x, 9 * noise).ids, sender.eval()(x).ids)
    message = sender(x)
    assert torch.equal(message.ids, sender(x, noise).ids)
    assert torch.equal(message.ids, message.logits.argmax(dim=2))
    assert message.onehot.shape == message.logits.shape == (4, 3, 5)


def test_the_first_symbol_0_ends_a_message():
    sender = sender_of(end_symbol=True).eval()
    sender.logits.weight.data.zero_()
    sender.logits.bias.data = torch.tensor([1.0, 0, 0, 0, 0])
    state = torch.zeros(2, 8)
    assert sender.speak(state).ids.tolist() == [[0, 0, 0]] * 2
    noise = torch.zeros(2, 3, 5)
    noise[0, 1:, 3] = noise[1, 0, 2] = noise[1, 2, 4] = 9.0
    assert sender.speak(state, noise).ids.tolist() == [[0, 0, 0], [2, 0, 0]]
    assert sender_of().eval().speak(state, noise).ids[0, 1:].tolist() == [3, 3]


def test_sizes_that_say_nothing_are_refused():
    with pytest.raises(ValueError, match="expected at least 2, at least 1 and above 0, found 1, 4 and 1"):
        SymbolSender(nn.Flatten(), 8, 1, 4)
