from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from policies.compress import TABLE_FILE
from policies.json_file import write_json
from sim.benchmarks import compressed_policies
from sim.benchmarks.compressed_policies import Settings, main
from sim.summary import write_results
from tests.sim.synthetic_run import describe, result

EPISODES, SEEDS = 5, (3, 4)


class FakePolicy:
    """A policy of a number of weights; its answers are counted."""

    def __init__(self, width, calls):
        self.model, self._calls = nn.Linear(width, 1, bias=False), calls

    def reset(self, seed):
        assert seed == SEEDS[0]

    def act(self, observation):
        self._calls.append(self.model.in_features)


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What is evaluated and answered; the small policy fails in the first episode of each seed."""
    found = {"evaluated": [], "answers": []}
    for name, width in (("whole", 1000), ("small", 100)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(bytes(width))

    def evaluate(arguments, command):
        found["evaluated"].append(arguments)
        protocol, fails = arguments.protocol(), arguments.policy.endswith("small")
        results = [result(episode, not (fails and episode.index == 0)) for episode in protocol.episode_ids()]
        write_results(arguments.output, results, describe(protocol, arguments.policy))

    def load(place):
        return FakePolicy(100 if place.endswith("small") else 1000, found["answers"])

    monkeypatch.setattr(compressed_policies, "evaluate", evaluate)
    monkeypatch.setattr(compressed_policies, "load_policy", load)
    monkeypatch.setattr(compressed_policies, "_observation", lambda policy, settings: None)
    monkeypatch.setattr(compressed_policies, "RESULTS", tmp_path / "docs" / "compressed_policies.json")
    (tmp_path / "docs").mkdir()
    return found


def words(tmp_path, output="out"):
    named = [f"{name}={tmp_path / name}" for name in ("whole", "small")]
    words = [
        "--policies",
        *named,
        "--task",
        "reach,pick",
        "--episodes",
        str(EPISODES),
        "--output",
        str(tmp_path / output),
    ]
    return [*words, "--seeds", *map(str, SEEDS), "--answers", "4"]


def test_all_policies_try_the_same_episodes_of_all_seeds_and_are_timed_in_turns(asked, tmp_path):
    main(words(tmp_path))
    found = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [(one.policy.endswith("small"), one.seed) for one in asked["evaluated"]] == [
        (False, 3), (False, 4), (True, 3), (True, 4),
    ]  # fmt: skip
    assert asked["answers"] == [1000, 100] * 5
    whole, small = found["policies"]["whole"], found["policies"]["small"]
    assert whole["successes"] == [2 * EPISODES] * 2
    assert small["successes"] == [2 * EPISODES - 2] * 2
    assert small["success_rate"] == pytest.approx(1 - 1 / EPISODES)
    assert small["difference"]["success_difference"] == pytest.approx(-1 / EPISODES)
    assert small["difference"]["episodes"] == 4 * EPISODES
    assert small["difference"]["only_first"] == 4
    assert whole["difference"] is None
    assert (whole["memory_mb"], small["memory_mb"]) == (0.004, 0.0004)
    assert (whole["disk_mb"], small["disk_mb"]) == (0.001, 0.0001)
    assert whole["sha256"] != small["sha256"]
    assert "| 16 of 20 (58 to 92) |" in (tmp_path / "out" / "result.md").read_text()
    assert not compressed_policies.RESULTS.exists()


def test_results_are_stored_by_the_whole_policy_and_the_page_has_all(asked, tmp_path):
    trials = [
        {"format": "whole", "rounding": "", "bits": 8_000_000, "error": 2.0, "measures": {}},
        {"format": "int4", "rounding": "gptq", "bits": 2_000_000, "error": 2.5, "measures": {}},
    ]
    config = {"validation_frames": 32, "validation_episodes": 6}
    write_json(tmp_path / TABLE_FILE, {"config": config, "trials": trials})
    main([*words(tmp_path), "--write", "--tried", str(tmp_path)])
    stored = json.loads(compressed_policies.RESULTS.read_text())
    assert list(stored) == [str(tmp_path / "whole")]
    result = stored[str(tmp_path / "whole")]
    page = compressed_policies.format_page({"spatialvla_small": result, "other": result | {"formats": None}})
    assert page.count("| int4 | gptq | 0.250 | 0.250 | 2.50000 | +25.00% |") == 1
    assert page.count("| small | 80.0 % | -20.0 %") == 2
    assert page.count("python -m sim.benchmarks.compressed_policies --policies") == 2
    assert page.count("python -m policies.compress --policy spatialvla_small") == 3
    assert compressed_policies.RESULTS.with_suffix(".md").read_text().startswith("# Compressed policies")
    compressed_policies.write(result, "another")
    assert list(json.loads(compressed_policies.RESULTS.read_text())) == [str(tmp_path / "whole"), "another"]


def test_memory_is_that_of_all_tensors_of_the_network():
    policy = FakePolicy(10, [])
    policy.model.register_buffer("codes", torch.zeros(3, dtype=torch.uint8))
    assert compressed_policies.memory_mb(policy) == pytest.approx(43e-6)


@pytest.mark.parametrize(
    ("policies", "told"), [(("a=b",), "expected two or more as LABEL=NAME, found a=b"), (("a=b", "c"), "found a=b c")]
)
def test_policies_have_labels(policies, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        Settings(policies, "pick", tmp_path).named()
    with pytest.raises(ValueError, match="--seeds: expected some that differ"):
        Settings(("a=b", "c=d"), "pick", tmp_path, seeds=(1, 1))
