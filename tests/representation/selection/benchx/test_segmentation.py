import itertools

import numpy as np
import pytest
import torch
from torch import nn

from representation.selection.benchx import (
    Cases,
    SegmentationRecipe,
    UPerNetSegmenter,
    VisionTransformerBackend,
    VisionTransformerConfig,
)
from representation.selection.benchx.picture_transforms import PictureTransform
from representation.selection.benchx.segmentation import Feature2Pyramid, fit_segmentation


class Stages(nn.Module):
    embed_dim = 16

    def __init__(self, count=3):
        super().__init__()
        widths = [3, 8, 12, 16][: count + 1]
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.ReLU()) for a, b in itertools.pairwise(widths)
        )

    def feature_pyramid(self, images):
        maps = []
        for stage in self.stages:
            images = stage(images)
            maps.append(images)
        return maps

    def forward_features(self, images):
        return self.feature_pyramid(images)[-1].mean(dim=(2, 3))


class Vector(nn.Module):
    embed_dim = 6

    def feature_pyramid(self, images):
        return [images.mean(dim=(2, 3)).repeat(1, 2)[:, :, None, None]]


def test_maps_of_one_size_become_a_pyramid():
    maps = Feature2Pyramid(6)([torch.randn(2, 6, 4, 4) for _ in range(4)])
    assert [x.shape[-1] for x in maps] == [16, 8, 4, 2]


@pytest.mark.parametrize(
    "backend",
    [Stages(), Stages(1), Vector(), VisionTransformerBackend(VisionTransformerConfig(32, 8, 16, 4, 2))],
    ids=["stages", "one map", "one place", "transformer"],
)
def test_every_pixel_gets_logits_from_every_kind_of_backend(backend):
    model = UPerNetSegmenter(backend, 3, 8, 8, side=32)
    images = torch.rand(2, 3, 32, 32)
    assert model(images).shape == (2, 3, 32, 32)
    loss = model.loss(images, torch.randint(3, (2, 32, 32)))
    loss.backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None and not name.startswith("backend.norm")]
    assert not [name for name in missing if not name.startswith("backend.")], "both heads learn"


def test_the_loss_has_four_tenths_of_that_of_the_second_head():
    model = UPerNetSegmenter(Stages(), 3, 8, 8, side=32).eval()
    images, masks = torch.rand(2, 3, 32, 32), torch.randint(3, (2, 32, 32))
    whole = model.loss(images, masks)
    main = nn.functional.cross_entropy(model(images), masks)
    coarse = model.auxiliary(model.backend.feature_pyramid(images)[2])
    fine = nn.functional.interpolate(coarse, (32, 32), mode="bilinear", align_corners=False)
    assert torch.allclose(whole, main + 0.4 * nn.functional.cross_entropy(fine, masks), atol=1e-5)


def test_the_head_sees_the_whole_picture():
    torch.manual_seed(0)
    model = UPerNetSegmenter(Stages(), 2, 8, 8, side=64).eval()
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    model(images)[0, 0, 0, 0].backward()
    assert images.grad[0, :, -8:, -8:].abs().sum() > 0


def square_cases(count=40, side=24):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 80, (count, 1, side, side, 3)).astype(np.uint8)
    masks = np.zeros((count, 1, side, side), np.uint8)
    for number in range(count):
        top, left = rng.integers(0, side - 10, 2)
        images[number, 0, top : top + 10, left : left + 10, 1] += 150
        masks[number, 0, top : top + 10, left : left + 10] = 1
    return Cases(images, masks=masks, names=("ground", "square"), mirrored=True)


def test_a_segmenter_learns_and_repeats_itself():
    torch.manual_seed(0)
    recipe = SegmentationRecipe(
        8, 8, lr=1e-2, steps=70, warmup_steps=4, evaluate_every=35, pictures=PictureTransform(24, 1.0, normalise=False)
    )
    splits = (np.arange(24), np.arange(24, 32), np.arange(32, 40))
    backend = Stages()
    first, again = (fit_segmentation(backend, square_cases(), splits, recipe, seed=2) for _ in range(2))
    assert first == again
    assert first.value > 0.85
    assert [step for step, _ in first.evaluations] == [35, 70]
    assert first.metrics["mdice"] == pytest.approx(
        (first.metrics["dice of ground"] + first.metrics["dice of square"]) / 2
    )


def test_a_frozen_backend_stays_as_it_is():
    model = UPerNetSegmenter(Stages(), 2, 8, 8, freeze=True, side=32).train()
    assert not model.backend.training
    model.loss(torch.rand(2, 3, 32, 32), torch.randint(2, (2, 32, 32))).backward()
    assert all(p.grad is None for p in model.backend.parameters())


def test_wrong_pyramids_and_recipes_are_told():
    class Growing(Stages):
        def feature_pyramid(self, images):
            return super().feature_pyramid(images)[::-1]

    with pytest.raises(ValueError, match="feature_pyramid: expected the finest map first"):
        UPerNetSegmenter(Growing(), 2)
    with pytest.raises(ValueError, match="classes: expected at least 2, found 1"):
        UPerNetSegmenter(Stages(), 1)
    with pytest.raises(ValueError, match="batch_size of at least 2"):
        SegmentationRecipe(batch_size=1)
