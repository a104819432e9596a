from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from representation.compatibility.oca import OCAEncoder
from representation.compatibility.picture_encoder import BackboneConfig, PictureConfig, new_backbone, views_of
from representation.compatibility.relative_representations import RelativeEncoder
from representation.data.frames import Frames
from representation.pretraining.small_encoder import SmallEncoder
from representation.registry import load_encoder


def small():
    return SmallEncoder("oca", BackboneConfig(width=8), torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("encoder", "damage"),
    [
        (lambda: OCAEncoder(small(), 8, 5, 3, 4), {"dim_old": None}),
        (lambda: OCAEncoder(small(), 8, 5, 3, 4), {"unknown": 1}),
        (lambda: RelativeEncoder(small(), torch.zeros(3, 3, 8, 8)), {"anchors": [-1, 2]}),
        (lambda: RelativeEncoder(small(), torch.zeros(3, 3, 8, 8)), {"anchors": [2, 3, 8, 8]}),
    ],
)
def test_a_damaged_head_is_refused(encoder, damage, tmp_path):
    encoder().save(tmp_path)
    assert load_encoder(tmp_path).width
    content = json.loads((tmp_path / "encoder.json").read_text())
    content["config"] |= damage
    (tmp_path / "encoder.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=str(tmp_path)):
        load_encoder(tmp_path)


def test_a_new_version_starts_from_another_encoder(tmp_path):
    small().save(tmp_path)
    backbone = new_backbone(PictureConfig(base=str(tmp_path)), "oca", torch.Generator())
    assert backbone.training
    assert torch.equal(backbone.layers[0].weight, small().layers[0].weight)


def test_views_are_squares_in_range_and_repeat_under_a_seed():
    images = np.random.default_rng(0).integers(0, 255, (4, 24, 32, 3), dtype=np.uint8)
    frames = Frames(images, np.arange(4))
    views = [views_of(PictureConfig(), frames, np.arange(4), torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert views[0].shape == (4, 3, 24, 24)
    assert 0 <= views[0].min() <= views[0].max() <= 1
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
