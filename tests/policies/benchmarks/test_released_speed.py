from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from policies.bench import main
from policies.benchmarks.released_speed import (
    ReleasedSettings,
    Stage,
    bytes_of,
    floors,
    format_markdown,
    measure,
    rdt_stages,
    spatialvla_stages,
)
from policies.rdt.network import Attended
from policies.spatialvla.token_steps import CompiledSteps

TINY = ReleasedSettings(tiny=True, device="cpu", dtype="float32", repetitions=2, seeds=1, threads=1, depth_camera=True)


@pytest.mark.parametrize(
    ("network", "stages"),
    [
        ("spatialvla", ["image tower", "prompt, first token", "11 more tokens"]),
        ("rdt_1b", ["3 pictures", "keys and values", "5 sampler steps"]),
    ],
)
def test_every_stage_of_an_answer_is_measured_and_told(network, stages, capsys):
    words = ["--released.network", network, "--released.tiny", "--released.device", "cpu", "--released.seeds", "2"]
    words += ["--released.repetitions", "2", "--released.no-compile", "--released.threads", "1", "--json"]
    assert main(["released_speed", *words]) == 0
    result = json.loads(capsys.readouterr().out)
    (seeds,) = result["measured"].values()
    assert len(seeds) == 2
    for one in seeds:
        assert list(one["seconds"]) == list(one["operations"]) == list(one["bytes"]) == stages
        assert all(count > 0 for kind in ("operations", "bytes") for count in one[kind].values())
    shares = result["profiles"]["as it is"]["operators"].values()
    assert 0 < sum(shares) <= 1
    page = format_markdown(result)
    assert all(stage in page for stage in [*stages, "answer", "chunks/s"])
    assert f"--released.network {network}" in page


def test_compiled_tokens_of_spatialvla_are_measured_beside_those_as_they_are(monkeypatch, capsys):
    modes = []

    def traced(model, mode):
        modes.append(mode)
        return CompiledSteps(model, backend="aot_eager")

    monkeypatch.setattr("policies.benchmarks.released_speed.CompiledSteps", traced)
    words = ["--released.tiny", "--released.device", "cpu", "--released.seeds", "1", "--released.repetitions", "1"]
    assert main(["released_speed", *words, "--released.threads", "1", "--released.depth-camera", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)["measured"]
    assert list(measured) == ["as it is", "compiled"]
    assert modes == ["default"], "a CPU has no graphs"
    plain, compiled = (seeds[0] for seeds in measured.values())
    assert plain["bytes"] == compiled["bytes"]
    # Compiled steps look at all places of the cache, also at those that are not written yet.
    for stage, count in plain["operations"].items():
        assert count <= compiled["operations"][stage] < 1.5 * count


def test_each_step_of_the_sampler_reads_and_multiplies_the_same_again():
    once, thrice = (measure(rdt_stages(replace(TINY, network="rdt_1b", sampler_steps=n)), TINY) for n in (1, 3))
    for kind in ("bytes", "operations"):
        one, three = (found[kind][f"{n} sampler steps"] for found, n in ((once, 1), (thrice, 3)))
        assert three == pytest.approx(3 * one, rel=0.02)
        assert once[kind]["keys and values"] == thrice[kind]["keys and values"]


def test_what_the_released_rdt_must_read_and_multiply():
    pictures, kept, steps = rdt_stages(ReleasedSettings(network="rdt_1b", device="meta"))
    width, tokens = 2048, 6 * 729
    adapted = 1152 * width + width * width
    with FlopCounterMode(display=False) as counter:
        kept.work()
    assert counter.get_total_flops() == 2 * tokens * (adapted + 14 * width * 2 * width)
    assert kept.read_bytes == 2 * (adapted + 2 * width + 14 * (width * 2 * width + 2 * width))
    assert pictures.read_bytes == pytest.approx(2 * 413e6, rel=0.01)  # SigLIP so400m without its pooling head
    of_conditions = 14 * 2 * width * 2 * (tokens + 32)
    assert steps.read_bytes == pytest.approx(5 * (2 * 1.0e9 + of_conditions), rel=0.1)


def test_eleven_tokens_read_the_layers_eleven_times():
    found = {stage.name: stage.read_bytes for stage in spatialvla_stages(TINY)}
    assert found["11 more tokens"] == 11 * found["prompt, first token"]


def test_what_is_done_within_a_stage_for_another_is_taken_off():
    left = torch.randn(8, 8)
    stages = [Stage("one", lambda: left @ left, 1), Stage("two", lambda: left @ left @ left, 1, within="one")]
    found = measure(stages, TINY)
    assert found["operations"] == {"one": 2 * 8**3, "two": 2 * 8**3}


def test_the_floor_is_the_longer_of_reading_and_multiplying():
    one = {"bytes": {"a": 100, "b": 10}, "operations": {"a": 10, "b": 100}}
    assert floors(one, {"bytes": 50.0, "operations": 20.0}) == {"a": 2.0, "b": 5.0}


def test_bytes_are_of_weights_and_of_what_is_kept():
    linear = torch.nn.Linear(3, 2).to(torch.bfloat16)
    kept = Attended([(torch.zeros(1, 4), torch.zeros(1, 4))])
    assert bytes_of(linear, kept) == 2 * (3 * 2 + 2) + 4 * 8


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="sampler_steps: expected at least 1, found 0"):
        ReleasedSettings(sampler_steps=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="expected one that is there, found cuda and no GPU"):
        main(["released_speed"])
