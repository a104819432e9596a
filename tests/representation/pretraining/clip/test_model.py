from __future__ import annotations

import math

import pytest
import torch

from representation.pretraining.clip.config import CLIPConfig
from representation.pretraining.clip.model import CLIP, clip_loss

SMALL = CLIPConfig(32, 32, 2, 64, 8, 16, 100, 64, 1, 2)


def text(*ids):
    return torch.tensor([[98, *ids, 99, *[0] * (14 - len(ids))]])


@pytest.fixture(scope="module")
def model():
    return CLIP(SMALL, torch.Generator().manual_seed(0)).eval()


def test_what_stands_behind_the_end_of_a_text_does_not_count(model):
    with torch.no_grad():
        first = text(5, 6, 7)
        behind, before = first.clone(), first.clone()
        behind[0, 8], before[0, 2] = 42, 42
        assert (model.encode_text(first) - model.encode_text(behind)).abs().max() < 1e-6
        assert (model.encode_text(first) - model.encode_text(before)).abs().max() > 1e-3


def test_the_loss_of_orthonormal_pairs_is_known():
    scale, batch = 3.0, 8
    eye = torch.eye(batch)
    expected = math.log(1 + (batch - 1) * math.exp(-scale))
    assert float(clip_loss(eye, eye, scale)) == pytest.approx(expected, abs=1e-5)


def test_of_equal_texts_each_picture_has_one_of_its_own():
    u = torch.eye(3)[[0, 0, 0, 1, 2]]
    expected = 3 / 5 * math.log(3)
    assert float(clip_loss(u, u, 1000.0)) == pytest.approx(expected, abs=1e-5)


def test_the_scale_never_exceeds_100():
    model = CLIP(SMALL, torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD([model.logit_scale], lr=1.0)
    eye = torch.eye(4)
    for _ in range(200):
        optimizer.zero_grad()
        (clip_loss(eye, eye, model.scale()) - model.scale()).backward()
        optimizer.step()
        assert model.scale().item() <= 100.0 + 1e-3


def test_a_scale_that_went_beyond_100_comes_back_and_is_written_as_it_is_used():
    model = CLIP(SMALL, torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.logit_scale.fill_(7.0)
    assert model.state_dict()["logit_scale"].exp().item() == pytest.approx(100.0)
    with torch.no_grad():
        model.logit_scale.fill_(7.0)
    optimizer = torch.optim.SGD([model.logit_scale], lr=0.01)
    model.scale().backward()
    optimizer.step()
    assert model.logit_scale.exp().item() == pytest.approx(100.0 * math.exp(-1.0))


def test_the_same_generator_gives_the_same_weights():
    first, second = (CLIP(SMALL, torch.Generator().manual_seed(3)).state_dict() for _ in range(2))
    drawn = {name for name in first if not torch.equal(first[name], second[name])}
    assert not drawn


def test_patches_are_looked_at_with_shares_that_leave_the_class_token_its_own(model):
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features, attention = model.visual.patch_features(images)
    assert (features.shape, attention.shape) == ((2, 16, 32), (2, 16))
    assert (attention > 0).all()
    assert (attention.sum(dim=1) < 1).all()


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="vision_layers"):
        CLIPConfig(32, 32, (1, 1, 1, 1), 64, 8, 16, 100, 64, 1, 2)
    with pytest.raises(ValueError, match="image_resolution: expected a multiple of 8"):
        CLIPConfig(32, 30, 2, 64, 8, 16, 100, 64, 1, 2)
