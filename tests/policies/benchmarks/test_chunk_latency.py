from __future__ import annotations

import json

import pytest
import torch

from policies.bench import main
from policies.benchmarks.chunk_latency import (
    LatencySettings,
    _prompt,
    decode_by_encoding_again,
    generate_with_library,
    network,
    weight_floor_s,
)
from policies.spatialvla.model import build_model
from policies.spatialvla.token_steps import CompiledSteps


def test_every_method_is_measured_on_the_same_weights(capsys):
    tiny = ["--latency.size", "tiny", "--latency.repetitions", "1", "--latency.seeds", "2", "--latency.threads", "1"]
    assert main(["chunk_latency", *tiny, "--latency.bandwidth-gb-s", "10", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [method["name"] for method in result["methods"]] == ["ours", "library, cached", "re-encoded"]
    assert result["methods"][0]["ratio"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert all(method["p50_ms"] > 0 for method in result["methods"])
    assert result["floor_ms"] > 0


def test_compiled_steps_are_measured_where_asked_for(monkeypatch, capsys):
    def traced(model):
        return CompiledSteps(model, backend="aot_eager")

    monkeypatch.setattr("policies.benchmarks.chunk_latency.CompiledSteps", traced)
    tiny = ["--latency.size", "tiny", "--latency.repetitions", "1", "--latency.seeds", "1", "--latency.threads", "1"]
    assert main(["chunk_latency", *tiny, "--latency.compile", "--json"]) == 0
    methods = {method["name"]: method["p50_ms"] for method in json.loads(capsys.readouterr().out)["methods"]}
    assert list(methods) == ["ours", "library, cached", "re-encoded", "ours, compiled"]
    assert methods["ours, compiled"] > 0


def test_both_plain_ways_give_the_same_tokens():
    settings = LatencySettings(size="tiny")
    model = build_model(network("tiny")[0], 0).eval()
    embeds, _ = _prompt(model, 0, settings)
    again = decode_by_encoding_again(model, embeds)
    assert again.shape == (1, 12)
    # The library suppresses the end token, which an untrained model may well choose.
    if model.config.eos_token_id not in again:
        assert torch.equal(again, generate_with_library(model, embeds))


def test_the_floor_counts_twelve_readings_of_the_layers():
    config, _ = network("tiny")
    model = build_model(config, 0)
    count = sum(parameter.numel() for parameter in model.language_model.model.layers.parameters())
    floor = weight_floor_s(config, LatencySettings(size="tiny", bandwidth_gb_s=1.0))
    assert floor == pytest.approx(12 * 4 * count / 1e9)


def test_no_repetitions_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        LatencySettings(repetitions=0)
