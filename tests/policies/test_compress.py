from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from policies.compress import CompressConfig, Trial, choose, compress, main
from policies.interface import CameraView, Observation, load_policy
from policies.quantization import QUANTIZATION_FILE
from policies.rdt.training_options import RDTTraining
from policies.robots import get_robot
from policies.train import new_run
from policies.train_config import TrainConfig
from representation.compression.topkld import QuantizedLinear, dequantize
from tests.policies.demonstrations import write_demonstrations
from tests.policies.rdt.episodes import SIDE, SPEC, write_bimanual

KINDS = ("spatialvla", "rdt")


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_demonstrations(root / "spatialvla", 6, np.random.default_rng(0))
    write_bimanual(root / "rdt", np.random.default_rng(0))
    return root


@pytest.fixture(scope="module")
def policies(demonstrations, tmp_path_factory):
    """A policy of each kind, trained for a moment."""
    root = tmp_path_factory.mktemp("policies")
    for kind in KINDS:
        config = TrainConfig(
            dataset=(demonstrations / kind,),
            output=root / kind,
            policy=kind,
            size="tiny",
            rdt=RDTTraining(left_wrist="", image_size=16, chunk=8),
            steps=10,
            batch_size=8,
            validation_episodes=2,
            threads=1,
            lr=3e-3,
        )
        config.output.mkdir()
        torch.set_num_threads(1)
        new_run(config).train()
    return root


def config_of(kind, demonstrations, policies, output):
    return CompressConfig(
        policy=str(policies / kind / "policy"),
        dataset=(demonstrations / kind,),
        output=output,
        formats=("int8", "int4g8"),
        calibration_frames=16,
        validation_episodes=2,
        batch_size=8,
        threads=1,
    )


def observation(kind):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
    calibration = np.array([[20.0, 0, SIDE / 2], [0, 20.0, SIDE / 2], [0, 0, 1]])
    view = CameraView(picture, rng.uniform(0.5, 1.0, (SIDE, SIDE)), calibration, np.eye(4))
    if kind == "rdt":
        return Observation(0.0, {"top": view, "right_wrist": view}, SPEC.home, np.zeros(14), "turn the left arm")
    spec = get_robot("panda")
    return Observation(0.0, {"front": view}, spec.home, np.zeros(len(spec.home)), "push the red cube")


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_is_tried_chosen_written_and_loaded(kind, demonstrations, policies, tmp_path):
    config = config_of(kind, demonstrations, policies, tmp_path / "run")
    trials, chosen = compress(config)
    assert [(t.format, t.rounding) for t in trials] == [
        ("whole", ""),
        ("int8", "nearest"),
        ("int8", "gptq"),
        ("int4g8", "nearest"),
        ("int4g8", "gptq"),
    ]
    whole, eight, four = trials[0], trials[1], trials[3]
    assert four.bits < eight.bits < whole.bits
    assert abs(eight.error / whole.error - 1) < abs(four.error / whole.error - 1)
    assert chosen.error <= 1.02 * whole.error
    table = json.loads((tmp_path / "run" / "table.json").read_text())
    assert table["chosen"] == {"format": chosen.format, "rounding": chosen.rounding}
    assert len(table["trials"]) == 5
    assert (tmp_path / "run" / "quality.png").stat().st_size > 1000
    small, large = (load_policy(str(place / "policy")) for place in (tmp_path / "run", policies / kind))
    rows = [policy.act(observation(kind)).rows for policy in (small, large)]
    assert rows[0].shape == rows[1].shape
    assert np.isfinite(rows[0]).all()
    maps = [part for part in small.model.modules() if isinstance(part, QuantizedLinear)]
    assert len(maps) == len(json.loads((tmp_path / "run" / "policy" / QUANTIZATION_FILE).read_text())["maps"]) > 4
    sizes = [(place / "policy" / "model.safetensors").stat().st_size for place in (tmp_path / "run", policies / kind)]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_policy_comes_back_equal_and_damage_is_refused(kind, demonstrations, policies, tmp_path):
    config = config_of(kind, demonstrations, policies, tmp_path / "run")
    compress(replace(config, formats=("int4z",), roundings=("nearest",), activations="int8", smooth=True, tolerance=9))
    place = tmp_path / "run" / "policy"
    first = load_policy(str(place))
    first.save_pretrained(tmp_path / "again")
    again = load_policy(str(tmp_path / "again"))
    stored, copied = (load_file(directory / "model.safetensors") for directory in (place, tmp_path / "again"))
    assert stored.keys() == copied.keys()
    assert all(torch.equal(stored[key], copied[key]) for key in stored)
    for policy in (first, again):
        policy.reset(0)
    np.testing.assert_array_equal(*[policy.act(observation(kind)).rows for policy in (first, again)])
    name, part = next((n, m) for n, m in first.model.named_modules() if isinstance(m, QuantizedLinear))
    assert part.smoothing is not None
    assert part.activations is not None
    # A scale that is not positive, codes of another length, an unknown format, a name that is no map.
    key = next(key for key in stored if key.endswith(".scale"))
    for wrong in (stored[key] * 0, stored[key] * float("nan"), stored[key][:-1]):
        save_file(stored | {key: wrong}, place / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match=r"model.safetensors: .*\.scale: expected"):
            load_policy(str(place))
    save_file(stored, place / "model.safetensors", metadata={"format": "pt"})
    content = json.loads((place / QUANTIZATION_FILE).read_text())
    for maps in (
        {"nothing": content["maps"][name]},
        {name: content["maps"][name] | {"format": "int5"}},
        {name: {"format": "int4"}},
        [],
    ):
        (place / QUANTIZATION_FILE).write_text(json.dumps({"maps": maps}))
        with pytest.raises(ValueError, match=f"{QUANTIZATION_FILE}: .*expected"):
            load_policy(str(place))
    (place / QUANTIZATION_FILE).unlink()
    with pytest.raises(ValueError, match="keys do not fit"):
        load_policy(str(place))


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_policy_cannot_be_trained_or_packed_again(kind, demonstrations, policies, tmp_path):
    config = config_of(kind, demonstrations, policies, tmp_path / "run")
    compress(replace(config, formats=("int8",), roundings=("nearest",), tolerance=9))
    again = replace(config, policy=str(tmp_path / "run" / "policy"), output=tmp_path / "again")
    with pytest.raises(ValueError, match="expected a policy of full precision"):
        compress(again)


@pytest.mark.parametrize("kind", KINDS)
def test_distillation_brings_few_bits_closer_to_the_whole_policy(kind, demonstrations, policies, tmp_path):
    config = config_of(kind, demonstrations, policies, tmp_path / "run")
    settings = {"formats": ("int2g8",), "roundings": ("nearest",), "tolerance": 99.0, "distill_steps": 40, "lr": 3e-3}
    trials, _ = compress(replace(config, **settings))
    whole, plain, distilled = trials
    assert distilled.rounding == "distilled"
    assert distilled.bits == plain.bits
    assert abs(distilled.error - whole.error) < abs(plain.error - whole.error)


def test_weights_are_those_of_the_whole_policy_up_to_half_a_step(demonstrations, policies, tmp_path):
    config = config_of("rdt", demonstrations, policies, tmp_path / "run")
    compress(replace(config, formats=("int8",), roundings=("nearest",), tolerance=9))
    small, large = (load_policy(str(place / "policy")) for place in (tmp_path / "run", policies / "rdt"))
    for name, part in small.model.named_modules():
        if isinstance(part, QuantizedLinear):
            difference = dequantize(part.quantized) - large.model.get_submodule(name).weight
            assert (difference.abs() <= 0.501 * part.scale).all()


def test_the_best_within_a_budget_or_the_smallest_within_a_tolerance_is_chosen():
    whole = Trial("whole", "", 16_000_000, 1.0, {})
    trials = [
        Trial("int8", "nearest", 8_000_000, 1.001, {}),
        Trial("int4", "nearest", 4_000_000, 1.2, {}),
        Trial("int4", "gptq", 4_000_000, 1.04, {}),
    ]
    assert choose(trials, whole, 0.5, 0.0) is trials[2]
    assert choose(trials, whole, 1.0, 0.0) is trials[0]
    assert choose(trials, whole, 0.0, 0.05) is trials[2]
    assert choose(trials, whole, 0.0, 0.01) is trials[0]
    with pytest.raises(ValueError, match=r"--budget-mb: expected at least 0.500, what int4 takes, found 0.4"):
        choose(trials, whole, 0.4, 0.0)
    with pytest.raises(ValueError, match=r"--tolerance: expected at least 0.001"):
        choose(trials, whole, 0.0, 0.0001)


def test_wrong_arguments_are_refused(demonstrations, policies, tmp_path, capsys):
    words = ["--policy", "nobody", "--dataset", str(demonstrations / "rdt"), "--output", str(tmp_path / "run")]
    assert main(words) == 1
    assert "policy 'nobody'" in capsys.readouterr().err
    words[1] = str(policies / "rdt" / "policy")
    assert main([*words, "--formats", "int5"]) == 1
    assert "format: expected a name such as int8" in capsys.readouterr().err
    assert main([*words, "--activations", "e4m3", "--validation-episodes", "2"]) == 1
    assert "--activations: expected integers" in capsys.readouterr().err
