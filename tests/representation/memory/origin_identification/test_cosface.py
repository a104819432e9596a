from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from representation.memory.origin_identification.cosface import CosFaceHead


def test_the_margin_is_taken_from_the_right_cosine_before_scaling():
    head = CosFaceHead(2, 3)
    head.weight.data = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 4.0]])
    found = head.logits(torch.tensor([[3.0, 4.0], [0.0, 1e-12]]), torch.tensor([1, 0]))
    expected = torch.tensor([64 * 0.6, 64 * (0.8 - 0.35), 64 * (-9 + 16) / 25])
    torch.testing.assert_close(found[0], expected, atol=1e-6, rtol=1e-6)
    assert torch.isfinite(found).all()


def test_without_a_margin_it_is_the_cross_entropy_of_scaled_cosines():
    generator = torch.Generator().manual_seed(0)
    head, v = CosFaceHead(5, 4, s=16, m=0.0, generator=generator), torch.randn(6, 5, generator=generator)
    labels = torch.arange(6) % 4
    cosines = F.normalize(v, dim=1) @ F.normalize(head.weight, dim=1).T
    torch.testing.assert_close(head(v, labels), F.cross_entropy(16 * cosines, labels))


def test_the_loss_falls_as_the_right_cosine_rises_and_half_precision_does_not_break_it():
    head = CosFaceHead(2, 2, s=8)
    head.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    angles = torch.linspace(torch.pi / 2, 0, 20)
    losses = [head(torch.stack([a.cos(), a.sin()])[None], torch.tensor([0])) for a in angles]
    assert all(after < before for before, after in pairwise(losses))
    small = torch.full((1, 2), 1e-5, dtype=torch.float16)
    assert float(head.half().logits(small, torch.tensor([1]))[0, 0]) == pytest.approx(8 * 0.5**0.5, rel=1e-2)
