from __future__ import annotations

import pytest
import torch

from policies.rdt.image_conditions import ImageConditions
from policies.rdt.network import RDTModel
from tests.policies.rdt.conftest import random_inputs


@torch.no_grad()
@pytest.mark.parametrize("present", [(0, 1, 2, 3, 4, 5), (3,), (0, 4), ()])
def test_missing_images_are_the_background_in_their_slots(model, present):
    features = random_inputs(model.config)["images"][0].unflatten(0, (6, 4))
    background = torch.randn(4, 48, generator=torch.Generator().manual_seed(9))
    conditions = ImageConditions(model, background)
    images = [features[slot] if slot in present else None for slot in range(6)]
    full = torch.cat([background if image is None else image for image in images])[None]
    expected = model.encode_images(full)
    for _ in range(2):  # the second time from what was kept
        found = conditions.encode(images)
        for pair, wanted in zip(found.pairs, expected.pairs, strict=True):
            torch.testing.assert_close(pair[0], wanted[0], atol=1e-6, rtol=0)
            torch.testing.assert_close(pair[1], wanted[1], atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_background_is_encoded_once(model, monkeypatch):
    calls = []
    encode = RDTModel.encode_images
    monkeypatch.setattr(RDTModel, "encode_images", lambda self, t, slots: calls.append(slots) or encode(self, t, slots))
    conditions = ImageConditions(model, torch.zeros(4, 48))
    image = torch.ones(4, 48)
    for _ in range(2):
        conditions.encode([None, None, None, image, None, None])
    assert calls == [[3], [0], [1], [2], [4], [5], [3]]


def test_another_number_of_images_is_refused(model):
    with pytest.raises(ValueError, match="expected 6"):
        ImageConditions(model, torch.zeros(4, 48)).encode([None] * 5)
