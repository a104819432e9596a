import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from representation.selection.benchx import Cases, ClassificationProbe, ClassificationRecipe
from representation.selection.benchx.classification import classification_loss, fit_classification, shuffled_batches
from representation.selection.benchx.picture_transforms import PictureTransform, random_resized_crops


class Convolution(nn.Module):
    """A backend with a batch norm, so that it has a mode."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.embed_dim, self.scale = 8, scale
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())

    def forward_features(self, images):
        return self.scale * self.feature_pyramid(images)[-1].flatten(2).transpose(1, 2)

    def feature_pyramid(self, images):
        return [self.layers(images)]


def colour_cases(count=80, several=False, seed=0):
    """Pictures in two colours; labels tell which of them are strong."""
    rng = np.random.default_rng(seed)
    flags = rng.integers(0, 2, (count, 2))
    images = rng.integers(0, 60, (count, 1, 16, 16, 3))
    images[..., 0] += 120 * flags[:, 0, None, None, None]
    images[..., 2] += 120 * flags[:, 1, None, None, None]
    labels = flags if several else flags[:, 0]
    return Cases(images.astype(np.uint8), labels=labels, names=("red", "blue"))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("classes", [2, 10])
def test_the_first_logits_are_all_but_nothing_for_any_backend(scale, classes):
    torch.manual_seed(0)
    probe = ClassificationProbe(Convolution(scale), classes)
    logits = probe(torch.rand(16, 3, 16, 16))
    assert logits.abs().max() < 1e-2
    loss = classification_loss(logits, torch.arange(16) % classes)
    assert float(loss.detach()) == pytest.approx(np.log(classes), abs=1e-2)


def test_losses_are_those_of_the_kinds_of_labels():
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    classes, several = torch.tensor([0, 1, 2, 0, 1, 2]), torch.eye(3).repeat(2, 1).long()
    assert torch.allclose(classification_loss(logits, classes), F.cross_entropy(logits, classes))
    expected = -(several * F.logsigmoid(logits) + (1 - several) * F.logsigmoid(-logits)).mean()
    assert torch.allclose(classification_loss(logits, several), expected)


def test_a_frozen_backend_stays_in_evaluation_mode_and_has_no_gradient():
    probe = ClassificationProbe(Convolution(), 2, freeze=True)
    before = {name: value.clone() for name, value in probe.backend.state_dict().items()}
    probe.train()
    assert probe.training
    assert not probe.backend.layers[1].training
    classification_loss(probe(torch.rand(4, 3, 16, 16)), torch.tensor([0, 1, 0, 1])).backward()
    assert probe.head.weight.grad is not None
    assert all(p.grad is None for p in probe.backend.parameters())
    assert all(torch.equal(value, before[name]) for name, value in probe.backend.state_dict().items())
    assert len(probe.parameter_groups(1.0, 0.1)) == 1


def test_the_encoder_learns_at_a_tenth_of_the_rate():
    head, encoder = ClassificationProbe(Convolution(), 2).parameter_groups(1e-4, 0.1)
    assert (head["lr"], encoder["lr"]) == (1e-4, pytest.approx(1e-5))
    assert len(head["params"]) == len(encoder["params"]) == 4


def test_a_batch_of_one_is_left_out_where_there_are_others():
    generator = torch.Generator().manual_seed(0)
    assert [len(part) for part in shuffled_batches(9, 4, generator)] == [4, 4]
    assert [len(part) for part in shuffled_batches(10, 4, generator)] == [4, 4, 2]
    assert [len(part) for part in shuffled_batches(1, 4, generator)] == [1]


def test_crops_are_parts_of_their_pictures_and_the_whole_is_itself():
    ramp = torch.linspace(0, 1, 16).expand(8, 3, 16, 16)
    crops = random_resized_crops(ramp, 16, 0.08, torch.Generator().manual_seed(0))
    widths = (crops[:, 0, 0, -1] - crops[:, 0, 0, 0]) * 16
    assert (widths <= 16).all()
    assert (widths > 16 * (0.08 * 0.75) ** 0.5 - 1).all()
    assert widths.std() > 1
    assert torch.allclose(random_resized_crops(ramp, 16, 1.0, torch.Generator().manual_seed(0)), ramp, atol=1e-5)


def test_pictures_are_normalised_and_brought_to_grey():
    images = np.zeros((1, 20, 12, 3), np.uint8)
    images[..., 0] = 255
    pixels = PictureTransform(8).measuring(images, grey=True)
    assert pixels.shape == (1, 3, 8, 8)
    assert torch.allclose(pixels, torch.tensor((0.299 - 0.4978) / 0.2449))
    assert torch.equal(PictureTransform(8, normalise=False).measuring(images, False)[:, 0], torch.ones(1, 8, 8))


@pytest.mark.parametrize("several", [False, True])
def test_a_probe_learns_repeats_itself_and_leaves_its_backend_alone(several):
    torch.manual_seed(0)
    cases, backend = colour_cases(several=several), Convolution()
    before = {name: value.clone() for name, value in backend.state_dict().items()}
    recipe = ClassificationRecipe(
        lr=0.02, batch_size=16, epochs=30, warmup_steps=5, total_steps=200,
        pictures=PictureTransform(16, 1.0, normalise=False),
    )  # fmt: skip
    splits = (np.arange(40), np.arange(40, 60), np.arange(60, 80))
    first, again = (fit_classification(backend, cases, splits, recipe, seed=1) for _ in range(2))
    assert first.measure == ("auroc" if several else "f1")
    assert first.value > 0.95
    assert first == again
    assert [epoch for epoch, _ in first.evaluations] == [10, 15, 20, 25, 30]
    assert first.validation == max(value for _, value in first.evaluations)
    assert all(torch.equal(value, before[name]) for name, value in backend.state_dict().items())


def test_recipes_and_heads_that_make_no_sense_are_told():
    with pytest.raises(ValueError, match="classes: expected at least 2, found 1"):
        ClassificationProbe(Convolution(), 1)
    with pytest.raises(ValueError, match="expected positive lr"):
        ClassificationRecipe(lr=0)
    with pytest.raises(ValueError, match="size, smallest_area"):
        PictureTransform(8, 0.0)
