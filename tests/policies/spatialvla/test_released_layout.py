"""Checkpoints in the released layout: shards, number formats, a depth network, and no word of a robot."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file, save_file

from policies.spatialvla import adopt
from policies.spatialvla.policy import SpatialVLAPolicy
from policies.spatialvla.processor import ProcessorSettings
from tests.policies.demonstrations import write_demonstrations
from tests.policies.spatialvla.conftest import K, make_observations, make_released_kind

SHARD_BYTES = 100_000
RELEASED_FILES = {
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(scope="module")
def policy():
    """A tiny network of the released kind, in bfloat16 but for its depth network."""
    return make_released_kind()


@pytest.fixture
def released(policy, tmp_path):
    """The directory as others release it: without what we add."""
    directory = tmp_path / "released"
    policy.save_pretrained(directory, max_shard_bytes=SHARD_BYTES)
    for name in ("config.json", "processor_config.json"):
        content = json.loads((directory / name).read_text())
        del content["polyarm"]
        (directory / name).write_text(json.dumps(content))
    return directory


SETTINGS = ProcessorSettings(image_fit="squash", decode="midpoint", intrinsics="unified")


def first_shard(directory):
    return sorted(directory.glob("model-*.safetensors"))[0]


def test_the_exporter_writes_the_released_files_in_shards(released):
    names = {path.name for path in released.iterdir()}
    shards = {name for name in names if name.startswith("model-")}
    assert names - shards == RELEASED_FILES
    assert len(shards) > 2
    assert all(tensor.dtype == torch.bfloat16 for shard in shards for tensor in load_file(released / shard).values())
    config = json.loads((released / "config.json").read_text())
    assert (config["torch_dtype"], set(config["auto_map"])) == ("bfloat16", {"AutoConfig", "AutoModel"})


def test_shards_load_and_save_bit_for_bit(released, policy, tmp_path):
    loaded = SpatialVLAPolicy.from_pretrained(released, settings=SETTINGS)
    loaded.save_pretrained(tmp_path / "again", max_shard_bytes=SHARD_BYTES)
    for shard in released.glob("model*"):
        assert shard.read_bytes() == (tmp_path / "again" / shard.name).read_bytes(), shard.name
    observation = make_observations(np.random.default_rng(0), 1)
    np.testing.assert_array_equal(loaded.act_batch(observation)[0].rows, policy.act_batch(observation)[0].rows)


LEFTOVERS = {
    "config.json": {"hidden_size": 2048, "transformers_version": "4.47.0"},
    "processor_config.json": {"min_sigma": 0.5, "obs_delta": 2, "ensembler": "none"},
    "generation_config.json": {"transformers_version": "4.47.0", "eos_token_id": [1, 107]},
    "preprocessor_config.json": {"do_rescale": False, "image_std": [1, 1, 1]},
    "special_tokens_map.json": {"additional_special_tokens": ["<image>"]},
    "tokenizer_config.json": {"model_max_length": 2048, "added_tokens_decoder": {"0": {"content": "<pad>"}}},
}


def test_fields_that_only_others_read_are_written_as_they_were(released, tmp_path):
    for name, fields in LEFTOVERS.items():
        content = json.loads((released / name).read_text())
        (released / name).write_text(json.dumps(content | fields))
    SpatialVLAPolicy.from_pretrained(released, settings=SETTINGS).save_pretrained(tmp_path / "again")
    for name in LEFTOVERS:
        before, after = (json.loads((directory / name).read_text()) for directory in (released, tmp_path / "again"))
        after.pop("polyarm", None)
        assert after == before, name


def test_the_hub_is_asked_for_what_is_read_and_nothing_else(released, tmp_path, monkeypatch):
    for name in ("README.md", "modeling_spatialvla.py", "training_args.pkl"):
        (released / name).write_text("not for us")
    asked = []

    def snapshot_download(repo_id, allow_patterns):
        asked.append(repo_id)
        names = [path.relative_to(released).as_posix() for path in released.rglob("*") if path.is_file()]
        for name in filter_repo_objects(names, allow_patterns=allow_patterns):
            place = tmp_path / "cache" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(released / name, place)
        return str(tmp_path / "cache")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    loaded = SpatialVLAPolicy.from_pretrained("lab/spatialvla-tiny", settings=SETTINGS)
    assert asked == ["lab/spatialvla-tiny"]
    found = {path.name for path in (tmp_path / "cache").iterdir()}
    assert found == {path.name for path in released.iterdir() if path.suffix in (".json", ".safetensors")}
    here = SpatialVLAPolicy.from_pretrained(released, settings=SETTINGS)
    for (name, value), other in zip(loaded.model.state_dict().items(), here.model.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


def test_weights_take_the_number_format_asked_for_and_the_depth_network_stays_wide(released):
    loaded = SpatialVLAPolicy.from_pretrained(released, dtype="float32", settings=SETTINGS)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    stored = SpatialVLAPolicy.from_pretrained(released, settings=SETTINGS)
    assert stored.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in stored.model.vision_zoe_model.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in stored.model.vision_zoe_model.parameters())


def test_with_a_depth_camera_the_depth_network_stays_behind(released):
    loaded = SpatialVLAPolicy.from_pretrained(released, dtype="float32", settings=SETTINGS, depth_source="sensor")
    assert not hasattr(loaded.model, "vision_zoe_model")
    observation = make_observations(np.random.default_rng(0), 1)
    near, far = (replace(loaded.processor.settings, depth_scale=scale) for scale in (1.0, 2.0))
    inputs = [replace(loaded.processor, settings=settings).observe(observation) for settings in (near, far)]
    torch.testing.assert_close(inputs[1]["depth"], 2 * inputs[0]["depth"])


def test_estimated_depth_needs_a_depth_network(released):
    SpatialVLAPolicy.from_pretrained(released, settings=SETTINGS, depth_source="sensor").save_pretrained(released)
    with pytest.raises(ValueError, match="expected a depth network"):
        SpatialVLAPolicy.from_pretrained(released, depth_source="estimated")


def test_the_unified_calibration_stands_for_every_camera(policy):
    one, other = (
        make_observations(np.random.default_rng(0), 1, size=16),
        make_observations(np.random.default_rng(0), 1, size=32),
    )
    found = [policy.processor.observe(observation)["intrinsics"][0].tolist() for observation in (one, other)]
    assert found == [K, K]
    true = replace(policy.processor, settings=replace(policy.processor.settings, intrinsics="true"))
    assert true.observe(other)["intrinsics"][0, 0, 0] == pytest.approx(16.0)


def test_a_directory_that_names_no_robot_is_refused_with_the_way_out(released):
    with pytest.raises(ValueError, match=r"processor_config\.json: group polyarm: .*policies\.spatialvla\.adopt"):
        SpatialVLAPolicy.from_pretrained(released)


def test_adopting_writes_a_directory_that_loads_by_itself(released, tmp_path):
    words = ["--robot", "panda", "--camera", "front", "--control-hz", "5", "--dataset-key", "default"]
    output = tmp_path / "adopted"
    assert adopt.main(["--policy", str(released), "--output", str(output), *words]) == 0
    settings = SpatialVLAPolicy.from_pretrained(output).processor.settings
    assert (settings.control_hz, settings.image_fit, settings.decode) == (5.0, "squash", "midpoint")
    assert adopt.main(["--policy", str(released), "--output", str(output), *words]) == 1


def test_depth_is_aligned_on_frames_of_the_camera(released, tmp_path):
    write_demonstrations(tmp_path / "data", 4, np.random.default_rng(0))
    config = adopt.AdoptConfig(
        str(released), tmp_path, "panda", "front", 5.0, "default", "sensor", align_depth_on=tmp_path / "data"
    )
    adopted = adopt.adopt(config)
    observation = make_observations(np.random.default_rng(0), 1)[0]
    assert adopted.processor.settings.depth_scale > 0
    assert adopted.processor.settings.depth_scale != 1.0
    assert adopted.act(observation).rows.shape == (4, 7)


def test_statistics_that_the_checkpoint_lacks_are_named(released, tmp_path, capsys):
    words = ["--robot", "panda", "--camera", "front", "--control-hz", "5", "--dataset-key", "fractal"]
    assert adopt.main(["--policy", str(released), "--output", str(tmp_path / "x"), *words]) == 1
    assert "dataset_key: expected one of ['default'], found 'fractal'" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def edit_index(directory, change):
    path = directory / "model.safetensors.index.json"
    content = json.loads(path.read_text())
    change(content["weight_map"])
    path.write_text(json.dumps(content))


def test_a_missing_shard_is_named(released):
    shard = first_shard(released)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=shard.name):
        SpatialVLAPolicy.from_pretrained(released, settings=SETTINGS)


def test_a_truncated_shard_is_named(released):
    shard = first_shard(released)
    shard.write_bytes(shard.read_bytes()[:2000])
    with pytest.raises(ValueError, match=rf"{shard.name}: not a readable"):
        SpatialVLAPolicy.from_pretrained(released, settings=SETTINGS)


def test_a_key_that_is_not_in_its_shard_is_named_with_the_shard(released):
    shard = first_shard(released)
    tensors = load_file(shard)
    key = sorted(tensors)[0]
    del tensors[key]
    save_file(tensors, shard)
    with pytest.raises(ValueError, match=rf"{shard.name}: keys do not fit .*missing \['{key}'\]"):
        SpatialVLAPolicy.from_pretrained(released, settings=SETTINGS)


@pytest.mark.parametrize("file", ["../secret.safetensors", "/etc/passwd", "model.bin", 7])
def test_an_index_that_points_elsewhere_is_refused(released, file):
    edit_index(released, lambda weight_map: weight_map.update({"spatial_embed_tokens.weight": file}))
    with pytest.raises(ValueError, match=r"index\.json: spatial_embed_tokens\.weight: expected the name"):
        SpatialVLAPolicy.from_pretrained(released, settings=SETTINGS)
