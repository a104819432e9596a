from __future__ import annotations

import json

import torch

from policies.spatialvla.checkpoint import released_name
from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.model import SpatialVLAModel


def shapes_on_disk(model):
    return {released_name(name): list(value.shape) for name, value in model.state_dict().items()}


def test_full_size_model_has_the_released_number_of_tensors_and_parameters():
    with torch.device("meta"):
        model = SpatialVLAModel(SpatialVLAConfig.released())
    assert len(shapes_on_disk(model)) == 1382
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_027_854_731


def test_full_size_keys_and_shapes_are_the_released_ones(goldens):
    with torch.device("meta"):
        model = SpatialVLAModel(SpatialVLAConfig.released())
    assert shapes_on_disk(model) == json.loads((goldens / "real_checkpoint_keys.json").read_text())


def test_tiny_keys_with_a_depth_network_are_the_reference_ones(goldens):
    config = SpatialVLAConfig.from_dict(json.loads((goldens / "tiny_config.json").read_text()))
    with torch.device("meta"):
        model = SpatialVLAModel(config)
    assert shapes_on_disk(model) == json.loads((goldens / "tiny_keys.json").read_text())
