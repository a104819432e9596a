from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.model import build_model
from policies.spatialvla.zoe_depth import estimate_depth
from tests.policies.spatialvla.conftest import make_frames, make_processor

TINY_ZOE = {
    "backbone_config": {
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "image_size": 384,
        "patch_size": 16,
        "use_relative_position_bias": True,
        "reshape_hidden_states": False,
        "out_indices": [1, 2, 3, 4],
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    },
    "neck_hidden_sizes": [4, 4, 8, 8],
    "fusion_hidden_size": 8,
    "bottleneck_features": 8,
    "bin_embedding_dim": 8,
    "num_relative_features": 4,
    "bin_configurations": [
        {"name": "nyu", "n_bins": 16, "min_depth": 0.001, "max_depth": 10.0},
        {"name": "kitti", "n_bins": 16, "min_depth": 0.001, "max_depth": 80.0},
    ],
    "num_patch_transformer_layers": 4,
    "patch_transformer_hidden_size": 128,
    "patch_transformer_intermediate_size": 16,
    "patch_transformer_num_attention_heads": 4,
}


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
