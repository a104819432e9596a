from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from policies.lora import LoraSettings, add_adapters, merged, save_adapters, trainable_parameters

SETTINGS, TARGETS = LoraSettings(rank=2, alpha=4.0), r"\d\.0"


def adapted():
    """Two linear maps, of which each second has adapters."""
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)) for _ in range(2)))
    add_adapters(model, SETTINGS, TARGETS)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    return model


def test_only_the_adapters_of_the_maps_asked_for_are_trained():
    model = adapted()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {f"{block}.0.lora_{part}.default.weight" for block in (0, 1) for part in "AB"}
    assert trainable_parameters(model) == 2 * 2 * (2 * 4)


def test_merged_adapters_change_the_weights_by_alpha_over_rank_times_their_product():
    model = adapted()
    whole = merged(model)
    layer = model[0][0]
    product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    torch.testing.assert_close(whole[0][0].weight, layer.get_base_layer().weight + 2.0 * product)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(whole(x), model(x))
    assert type(whole[0][0]) is nn.Linear
    assert merged(whole) is whole


def test_saved_adapters_have_the_names_that_peft_reads(tmp_path):
    save_adapters(adapted(), SETTINGS, TARGETS, "the base", tmp_path)
    names = load_file(tmp_path / "adapter_model.safetensors")
    assert set(names) == {f"base_model.model.{block}.0.lora_{part}.weight" for block in (0, 1) for part in "AB"}
    content = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (content["peft_type"], content["r"], content["base_model_name_or_path"]) == ("LORA", 2, "the base")
    assert content["target_modules"] == TARGETS


@pytest.mark.parametrize("wrong", [{"rank": -1}, {"alpha": 0.0}, {"dropout": 1.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="lora: expected"):
        LoraSettings(**wrong)
