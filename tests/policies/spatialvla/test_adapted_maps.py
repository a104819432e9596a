from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer

from policies.lora import LoraSettings, merged, trainable_parameters
from policies.spatialvla.adapted_maps import adapt
from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.model import build_model
from tests.policies.spatialvla.conftest import make_frames, make_policy, make_processor
from tests.policies.spatialvla.test_zoe_depth import TINY_ZOE

SETTINGS = LoraSettings(rank=4, alpha=8.0)


@pytest.fixture(scope="module")
def inputs():
    frames = make_frames(np.random.default_rng(0), 2)
    return make_processor().collate(*frames.values())


def adapted(seed=0):
    """A model with adapters that change it."""
    model = make_policy(seed=seed).model
    adapt(model, SETTINGS)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def logits(model, inputs):
    with torch.inference_mode():
        return model(**inputs).logits


def test_fresh_adapters_change_nothing(inputs):
    model = make_policy().model
    before = logits(model, inputs)
    adapt(model, SETTINGS)
    torch.testing.assert_close(logits(model.eval(), inputs), before)


def test_merged_adapters_give_the_same_outputs_and_an_ordinary_model(inputs):
    model = adapted().eval()
    whole = merged(model)
    assert not torch.allclose(logits(make_policy().model, inputs), logits(model, inputs), atol=1e-3)
    torch.testing.assert_close(logits(whole, inputs), logits(model, inputs), atol=1e-5, rtol=1e-4)
    assert set(whole.state_dict()) == set(make_policy().model.state_dict())
    assert merged(whole) is whole


@pytest.mark.parametrize("tables", [False, True])
def test_only_adapters_and_the_tables_asked_for_are_trained(tables):
    model = make_policy().model
    adapt(model, replace(SETTINGS, train_tables=tables))
    others = {name for name, p in model.named_parameters() if p.requires_grad and "lora_" not in name}
    assert others == ({"spatial_embed_tokens.weight", "language_model.lm_head.weight"} if tables else set())
    assert 0 < trainable_parameters(model) < sum(p.numel() for p in model.parameters())


def test_every_linear_map_but_those_of_the_depth_network_is_adapted():
    config = replace(SpatialVLAConfig.tiny(), use_vision_zoe=True, vision_zoe_config=TINY_ZOE)
    model = build_model(make_processor(config).config, 0)
    adapt(model, SETTINGS)
    places = {name for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    assert not any(name.startswith("vision_zoe_model") for name in places)
    kinds = {name.rpartition(".")[2] for name in places}
    assert kinds == set(
        [
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "out_proj",
            "fc1",
            "fc2",
            "gate_proj",
            "up_proj",
            "down_proj",
            "linear",
            "0",
            "3",
        ]
    )
