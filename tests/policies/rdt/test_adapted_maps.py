from __future__ import annotations

from peft.tuners.lora import LoraLayer
from torch import nn

from policies.lora import LoraSettings, add_adapters
from policies.rdt.adapted_maps import TARGETS
from tests.policies.rdt.conftest import random_model


def test_every_linear_map_but_those_of_the_scalar_embedders_is_adapted():
    model = random_model()
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    add_adapters(model, LoraSettings(rank=2), TARGETS)
    places = {name for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    assert linear - places == {f"model.{name}_embedder.mlp.{i}" for name in ("t", "freq") for i in (0, 2)}
    assert not any(p.requires_grad for name, p in model.named_parameters() if "lora_" not in name)
