from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from representation.memory.grounded_language.grad_cam import symbol_grad_cam
from representation.memory.grounded_language.sender import SymbolSender
from representation.memory.grounded_language.vision import PictureNet

HIDDEN, SYMBOLS, LENGTH, SIDE = 32, 6, 2, 16


def marked(count, generator):
    """Faint noise, and one of four marks in one of four quadrants: pictures, marks and quadrants."""
    images = 0.02 * torch.rand(count, 1, SIDE, SIDE, generator=generator)
    kinds, quadrants = torch.randint(4, (2, count), generator=generator)
    marks = torch.zeros(4, 4, 4)
    marks[0, 1:3], marks[1, :, 1:3], marks[2, ::2], marks[3, :, ::2] = 1.0, 1.0, 1.0, 1.0
    for image, kind, quadrant in zip(images, kinds, quadrants, strict=True):
        top, left = 8 * int(quadrant // 2) + 2, 8 * int(quadrant % 2) + 2
        image[0, top : top + 4, left : left + 4] += marks[kind]
    return images, kinds, quadrants


def test_a_symbol_that_names_a_mark_is_caused_by_it():
    generator = torch.Generator().manual_seed(0)
    images, kinds, _ = marked(400, generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sender = SymbolSender(PictureNet(1, HIDDEN, 1), HIDDEN, SYMBOLS, LENGTH)
    optimizer = torch.optim.Adam(sender.parameters(), lr=3e-3)
    for _ in range(100):
        rows = torch.randperm(len(images), generator=generator)[:64]
        logits = sender.speak(sender.vision(images[rows])).logits[:, 0]
        optimizer.zero_grad()
        cross_entropy(logits, kinds[rows]).backward()
        optimizer.step()
    test, kinds, quadrants = marked(40, generator)
    assert (sender.eval()(test).ids[:, 0] == kinds).float().mean() > 0.9
    found = symbol_grad_cam(sender, test, 0)
    assert found.shape == (40, SIDE, SIDE)
    assert found.min() >= 0
    assert found.max() == pytest.approx(1.0)
    parts = found.view(40, 2, 8, 2, 8).sum(dim=(2, 4)).flatten(1)
    share = parts.gather(1, quadrants[:, None])[:, 0] / parts.sum(dim=1)
    assert float(share.mean()) >= 0.6


def test_a_symbol_that_is_said_of_every_picture_has_no_cause():
    sender = SymbolSender(PictureNet(1, HIDDEN, 1), HIDDEN, SYMBOLS, LENGTH).eval()
    sender.logits.weight.data[3] = 0.0
    sender.logits.bias.data[3] = 99.0
    images = torch.rand(3, 1, SIDE, SIDE)
    assert (sender(images).ids == 3).all()
    assert not symbol_grad_cam(sender, images, 1).any()
    with pytest.raises(ValueError, match="position: expected 0 to 1, found 2"):
        symbol_grad_cam(sender, images, 2)
