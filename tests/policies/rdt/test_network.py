from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from policies.rdt.config import RDTConfig
from policies.rdt.network import Conditions, RDTModel, attend, build_model
from tests.policies.rdt.conftest import conditions_of, random_inputs, random_model


def predict(model, inputs, conditions=None):
    batch = len(inputs["noise"])
    masks = inputs["mask"].expand(batch, 1, -1)
    steps = torch.full((batch,), 599)
    conditions = conditions or conditions_of(model, inputs)
    with torch.no_grad():
        return model(inputs["state"][:, None], inputs["noise"], masks, steps, inputs["frequency"], conditions)


class Taps:
    """Records the outputs of a network's modules by name."""

    def __init__(self, model):
        self.outputs = {}
        for name, module in model.named_modules():
            module.register_forward_hook(lambda _, __, out, name=name: self.outputs.__setitem__(name, out))


@torch.no_grad()
def test_forward_pass_equals_the_reference(goldens):
    model = RDTModel(RDTConfig.tiny()).eval()
    model.load_state_dict(load_file(goldens / "tiny_rand_weights.safetensors"))
    inputs, expected = (
        load_file(goldens / "tiny_inputs.safetensors"),
        load_file(goldens / "forward_norm_var.safetensors"),
    )
    taps = Taps(model)
    conditions = Conditions(
        model.encode_language(inputs["lang_tokens"], inputs["lang_attn_mask"]),
        model.encode_images(inputs["img_tokens"]),
    )
    times, frequencies = inputs["train_timesteps"], inputs["ctrl_freqs"]
    out = model(inputs["state_tokens"], inputs["init_noise"], inputs["action_mask"], times, frequencies, conditions)
    torch.testing.assert_close(out, expected["f32.out_langmask"], atol=2e-5, rtol=0)
    found = taps.outputs
    names = {"lang_adapted": "lang_adaptor", "img_adapted": "img_adaptor", "state_adapted": "state_adaptor"}
    names |= {"tap.t_emb": "model.t_embedder", "tap.freq_emb": "model.freq_embedder"}
    for i in range(4):
        parts = {"": "", ".attn": ".attn", ".cross": ".cross_attn", ".ffn": ".ffn", ".norm1": ".norm1"}
        names |= {f"tap.block{i}{ours}": f"model.blocks.{i}{theirs}" for ours, theirs in parts.items()}
    for name, module in names.items():
        wanted = expected[f"f32.{name}"]
        # The last block computes only the rows that are read.
        torch.testing.assert_close(found[module], wanted[:, -found[module].shape[1] :], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "config", "parameters", "tensors"),
    [
        ("rdt-1b", RDTConfig.rdt_1b(), 1_228_319_872, 618),
        ("rdt-170m", RDTConfig.rdt_170m(), 166_229_888, 324),
    ],
)
def test_released_sizes_have_the_released_tensors(name, config, parameters, tensors, request):
    with torch.device("meta"):
        model = RDTModel(config)
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert len(shapes) == tensors
    goldens = request.getfixturevalue("goldens")
    assert shapes == json.loads((goldens / "key_tables.json").read_text())[name]["keys"]


@pytest.mark.parametrize("seed", range(3))
def test_padding_changes_nothing_and_valid_tokens_do(seed):
    model = random_model(seed)
    inputs = random_inputs(model.config, seed=seed)
    valid = torch.tensor([[True] * 4 + [False]])
    images = model.encode_images(inputs["images"])

    def answer(place=None):
        language = inputs["language"].clone()
        if place is not None:
            language[0, place] += 1.0
        return predict(model, inputs, Conditions(model.encode_language(language, valid), images))

    assert (answer() - answer(4)).abs().max() < 1e-6
    assert (answer() - answer(3)).abs().max() > 1e-3
    other = {**inputs, "images": inputs["images"].clone()}
    other["images"][0, 5] += 1.0
    assert (predict(model, inputs) - predict(model, other)).abs().max() > 1e-3


def test_the_two_kinds_of_norm_differ_on_the_same_weights():
    model = random_model()
    other = RDTModel(replace(model.config, norm_stat="rms"))
    other.load_state_dict(model.state_dict())
    inputs = random_inputs(model.config)
    assert (predict(model, inputs) - predict(other.eval(), inputs)).abs().max() > 1e-2


def test_one_set_of_conditions_serves_a_batch(model):
    inputs = random_inputs(model.config, batch=3)
    together = predict(model, inputs)
    for i in range(3):
        alone = {k: v[i : i + 1] if k in ("state", "noise", "frequency") else v for k, v in inputs.items()}
        torch.testing.assert_close(together[i : i + 1], predict(model, alone), atol=1e-5, rtol=0)


def test_a_fresh_network_predicts_nothing_and_depends_on_its_seed_alone():
    first, second = build_model(RDTConfig.tiny(), 3), build_model(RDTConfig.tiny(), 3)
    assert all((a == b).all() for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not predict(first, random_inputs(first.config)).any()


@pytest.mark.parametrize(("kind", "keys"), [("linear", ["bias", "weight"]), ("mlp1x_gelu", ["0.bias", "0.weight"])])
def test_adaptors_are_of_the_configured_kind(kind, keys):
    model = RDTModel(replace(RDTConfig.tiny(), lang_adaptor=kind))
    assert sorted(model.lang_adaptor.state_dict()) == keys


@torch.no_grad()
def test_other_numbers_of_tokens_are_refused(model):
    inputs = random_inputs(model.config)
    with pytest.raises(ValueError, match="images: expected 6 x 4 tokens, found 23"):
        model.encode_images(inputs["images"][:, 1:])
    with pytest.raises(ValueError, match="language: expected 1 to 16 tokens, found 17"):
        model.encode_language(torch.zeros(1, 17, 32))
    with pytest.raises(ValueError, match="valid token"):
        model.encode_language(inputs["language"], torch.zeros(1, 5, dtype=torch.bool))


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_the_same_with_gradients_and_without(masked):
    generator = torch.Generator().manual_seed(0)
    queries, keys, values = (
        torch.randn(2, 3, length, 8, generator=generator, requires_grad=True) for length in (5, 7, 7)
    )
    mask = torch.rand(2, 1, 1, 7, generator=generator) < 0.6 if masked else None
    with torch.no_grad():
        fused = attend(queries, keys, values, mask)
    torch.testing.assert_close(attend(queries, keys, values, mask), fused)
