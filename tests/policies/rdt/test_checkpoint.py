from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from policies.json_file import read_json
from policies.loading import find_policy
from policies.rdt.checkpoint import config_of, load_model, save_model
from policies.rdt.config import RDTConfig
from policies.rdt.network import build_model
from policies.rdt.weights_file import FILES
from tests.policies.rdt.conftest import random_model


def test_the_largest_models_configuration_is_the_released_file():
    text = RDTConfig.rdt_1b().to_json()
    assert len(text) == 919
    assert RDTConfig.from_dict(json.loads(text)) == RDTConfig.rdt_1b()


def test_the_small_preset_is_the_shipped_policys_network():
    stored = read_json(find_policy("rdt_small") / "config.json")
    assert {key: stored[key] for key in RDTConfig.small().to_dict()} == RDTConfig.small().to_dict()


@pytest.mark.parametrize("form", sorted(FILES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_come_back_to_the_bit(tmp_path, form, dtype):
    model = random_model().to(dtype)
    save_model(model, tmp_path, form)
    for source in (tmp_path, tmp_path / FILES[form]):  # a directory, and a file without configuration
        loaded = load_model(source)
        assert loaded.config == model.config
        for name, value in model.state_dict().items():
            assert loaded.state_dict()[name].dtype == dtype
            assert torch.equal(loaded.state_dict()[name], value), name


def test_another_number_format_is_a_choice(tmp_path):
    save_model(random_model().to(torch.bfloat16), tmp_path)
    assert {p.dtype for p in load_model(tmp_path, dtype="float32").parameters()} == {torch.float32}


def test_an_export_replaces_the_form_that_was_there(tmp_path):
    save_model(random_model(0), tmp_path, "safetensors")
    save_model(random_model(1), tmp_path, "hub")
    expected = random_model(1).model.x_pos_embed
    torch.testing.assert_close(load_model(tmp_path).model.x_pos_embed, expected, atol=0, rtol=0)


@pytest.mark.parametrize("config", [RDTConfig.rdt_170m(), replace(RDTConfig.tiny(), num_heads=2, clean_prefix=True)])
def test_sizes_are_read_from_tensors(config):
    from policies.rdt.network import RDTModel

    with torch.device("meta"):
        weights = RDTModel(config).state_dict()
    assert config_of(weights) == config


def damaged(tmp_path, change):
    save_model(random_model(), tmp_path)
    tensors = load_file(tmp_path / FILES["safetensors"])
    change(tensors)
    save_file(tensors, tmp_path / FILES["safetensors"])
    return tmp_path


KEY = "model.blocks.1.ffn.fc1.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(KEY), f"missing.*{KEY}"),
        (lambda t: t.update({"model.elbow": torch.zeros(1)}), "extra.*model.elbow"),
        (lambda t: t.update({KEY: torch.zeros(64, 63)}), rf"{KEY}: expected shape \(64, 64\), found \(64, 63\)"),
        (lambda t: t[KEY].fill_(torch.nan), f"{KEY}: expected finite"),
        (lambda t: t.update({KEY: torch.zeros(64, 64, dtype=torch.int64)}), f"{KEY}: expected floating-point"),
        (lambda t: t.pop("model.x_pos_embed"), "model.x_pos_embed"),
    ],
)
def test_damaged_weights_are_refused_by_key(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        load_model(damaged(tmp_path, change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["rdt"].update(hidden_size=128), "hidden_size: expected 64.*found 128"),
        (lambda c: c["rdt"].pop("depth"), "depth"),
        (lambda c: c.update(pred_horizon=9), "pred_horizon: expected 8"),
        (lambda c: c["noise_scheduler"].update(beta_schedule="linear"), "beta_schedule"),
        (lambda c: c["noise_scheduler"].update(prediction_type="v"), "prediction_type"),
        (lambda c: c.update(img_pos_embed_config=[["image", [2, 3]]]), "img_pos_embed_config"),
        (lambda c: c.update(lang_adaptor="mlp"), "lang_adaptor"),
    ],
)
def test_a_configuration_that_disagrees_is_refused_by_field(tmp_path, change, message):
    save_model(random_model(), tmp_path)
    path = tmp_path / "config.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"config.json.*{message}"):
        load_model(tmp_path)


class Harmful:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model.x_pos_embed": Harmful()}, "tensors alone"),
        ([1, 2], "expected tensors by key"),
        ({"step": 3}, "step: expected a tensor"),
    ],
)
def test_a_pickled_file_with_anything_but_tensors_is_refused(tmp_path, content, message, capsys):
    torch.save(content, tmp_path / FILES["hub"])
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path)
    assert "executed" not in capsys.readouterr().out


def test_truncated_files_and_none_at_all_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        load_model(tmp_path)
    save_model(random_model(), tmp_path, "deepspeed")
    path = tmp_path / FILES["deepspeed"]
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="mp_rank_00"):
        load_model(tmp_path)
    torch.save({"weights": {}}, path)
    with pytest.raises(ValueError, match="'module'"):
        load_model(tmp_path)


def test_pictures_of_one_time_are_read_back(tmp_path):
    config = replace(RDTConfig.tiny(), image_grid=(1, 3, 25))
    save_model(build_model(config, 0), tmp_path)
    assert load_model(tmp_path).config == config
