from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.model import build_model
from policies.spatialvla.zoe_depth import estimate_depth
from tests.policies.spatialvla.conftest import TINY_ZOE, make_frames, make_processor


@pytest.fixture(scope="module")
def processor():
    return make_processor(replace(SpatialVLAConfig.tiny(), use_vision_zoe=True, vision_zoe_config=TINY_ZOE))


@pytest.fixture(scope="module")
def model(processor):
    return build_model(processor.config, seed=0).eval()


def test_depth_of_an_image_does_not_depend_on_its_batch(model):
    pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    depth = estimate_depth(model.vision_zoe_model, pixels)
    assert depth.shape == (2, 16, 16)
    torch.testing.assert_close(depth[1:], estimate_depth(model.vision_zoe_model, pixels[1:]))


@torch.no_grad()
def test_depth_is_estimated_where_none_is_given(processor, model):
    frames = {**make_frames(np.random.default_rng(0), 1), "depth": None}
    inputs = processor.collate(**frames)
    depth = estimate_depth(model.vision_zoe_model, inputs["pixel_values"])
    torch.testing.assert_close(model(**inputs).logits, model(**inputs, depth=depth).logits)


def test_the_depth_network_is_never_trained(model):
    model.train()
    assert not model.vision_zoe_model.training
    assert not any(parameter.requires_grad for parameter in model.vision_zoe_model.parameters())
    model.eval()
