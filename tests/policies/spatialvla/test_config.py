from __future__ import annotations

import json
from dataclasses import replace

import pytest

from policies.spatialvla.config import SpatialVLAConfig


@pytest.mark.parametrize("config", [SpatialVLAConfig.tiny(), SpatialVLAConfig.small(), SpatialVLAConfig.released()])
def test_configuration_survives_the_file(config):
    assert SpatialVLAConfig.from_dict(config.to_dict()) == config


def test_our_extensions_are_off_in_the_released_configuration():
    content = SpatialVLAConfig.released().to_dict()
    ours = content.pop("polyarm")
    assert SpatialVLAConfig.from_dict(content) == SpatialVLAConfig.released()
    assert (ours["state_dim"], ours["point_frame"], ours["use_ego3d"]) == (0, "camera", True)


def test_a_missing_field_is_named():
    content = SpatialVLAConfig.tiny().to_dict()
    del content["action_token_begin_idx"]
    with pytest.raises(ValueError, match="action_token_begin_idx"):
        SpatialVLAConfig.from_dict(content)


def test_image_size_follows_from_positions_where_the_release_leaves_it_out():
    content = SpatialVLAConfig.released().to_dict()
    vision = dict(content["vision_config"], num_positions=256)
    del vision["image_size"]
    config = SpatialVLAConfig.from_dict({**content, "vision_config": vision})
    assert config.image_size == 224
    assert config.to_dict()["vision_config"] == vision


def test_every_field_of_a_reference_configuration_is_written_as_it_was_read(goldens):
    content = json.loads((goldens / "tiny_config.json").read_text())
    written = json.loads(json.dumps(SpatialVLAConfig.from_dict(content).to_dict()))
    assert {name: written[name] for name in content} == content
    anew = {"model_type", "architectures", "auto_map", "_vocab_size", "num_hidden_layers", "polyarm"}
    assert set(written) - set(content) == anew


@pytest.mark.parametrize(
    ("field", "value"),
    [("point_frame", "world"), ("prefix_attention", "none"), ("state_dim", 3), ("ego3d_patch_reso", 3)],
)
def test_a_wrong_value_is_named(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SpatialVLAConfig.tiny(), **{field: value})
