from __future__ import annotations

import json

import pytest

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
