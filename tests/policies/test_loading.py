from __future__ import annotations

import json

import pytest
from huggingface_hub.utils import filter_repo_objects

from policies import loading
from policies.interface import load_policy


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "CHECKPOINTS", tmp_path)
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "config.json").write_text(json.dumps({"model_type": "perceptron"}))
    return tmp_path


@pytest.mark.parametrize("name", ["nothing", "nobody/nothing-of-that-name"])
def test_an_unknown_name_lists_what_is_shipped(checkpoints, name):
    with pytest.raises(FileNotFoundError, match=rf"{name}.*shipped: .*'shipped'"):
        load_policy(name)


def test_a_directory_without_configuration_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_policy(str(tmp_path))


def test_an_unknown_model_type_is_named(checkpoints):
    known = r"expected one of \['rdt', 'recorded_motion', 'spatialvla'\], found 'perceptron'"
    with pytest.raises(ValueError, match=rf"config\.json: model_type: {known}"):
        load_policy("shipped")


def test_damaged_configuration_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("[1")
    with pytest.raises(ValueError, match=r"config\.json: expected a JSON object"):
        load_policy(str(tmp_path))


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "model-00001-of-00002.safetensors",
        "pytorch_model.bin",
        "pytorch_model/mp_rank_00_model_states.pt",
        "lang_embeds/pick_up_the_cup.pt",
        "text_encoder/spiece.model",
    ],
)
def test_the_hub_is_asked_for_every_kind_of_file_that_is_read(tmp_path, monkeypatch, name):
    asked = {}
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repo, **how: asked.update(how) or str(tmp_path))
    assert loading.find_policy("lab/policy") == tmp_path
    assert list(filter_repo_objects([name, "modeling.py", "weights.pkl"], **asked)) == [name]


def test_a_changed_tokenizer_is_another_policy(tmp_path):
    (tmp_path / "spiece.model").write_bytes(b"one")
    before = loading.policy_sha256(str(tmp_path))
    (tmp_path / "spiece.model").write_bytes(b"two")
    assert loading.policy_sha256(str(tmp_path)) != before


def test_short_names_are_those_of_shipped_policies():
    for short, name in loading.SHORT_NAMES.items():
        assert loading.find_policy(short) == loading.find_policy(name)
        assert name in loading.shipped_policies()


def test_only_a_policy_with_a_network_of_its_own_is_compiled(monkeypatch):
    for name in ("noop", "ws://127.0.0.1:1"):
        with pytest.raises(ValueError, match=f"compile: expected a policy with a network .*, found '{name}'"):
            load_policy(name, compile=True)
    made = []
    monkeypatch.setattr("policies.spatialvla.policy.CompiledSteps", made.append)
    assert load_policy("spatialvla_small", compile=True).model is made[0]
    load_policy("spatialvla_small")
    assert len(made) == 1
