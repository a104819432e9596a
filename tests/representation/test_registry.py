from __future__ import annotations

import json

import pytest

from representation.dynamics.gcrl import GCRL, GRAPH
from representation.registry import load_encoder, load_model


def test_a_model_that_encodes_nothing_is_read_and_is_no_encoder(tmp_path):
    GCRL(GRAPH).save(tmp_path / "run" / "encoder")
    assert isinstance(load_model(tmp_path / "run"), GCRL)
    with pytest.raises(ValueError, match="run: expected an encoder, found another model, GCRL"):
        load_encoder(tmp_path / "run")


def test_a_system_that_saves_no_models_is_named(tmp_path):
    (tmp_path / "encoder.json").write_text(json.dumps({"system": "tmi", "config": {}}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="system: expected one that saves models, found tmi"):
        load_encoder(tmp_path)
