from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.nn import functional as F  # noqa: N812

from representation.data.frames import Frames
from representation.pretraining.sie import (
    Config,
    HyperPredictor,
    Projector,
    SieEncoder,
    covariance_loss,
    new,
    other_views,
    prediction_ranks,
    relative_rotation,
    rotation_score,
    sie_loss,
    variance_loss,
)
from representation.registry import load_encoder

SMALL = Config(resolution=16, width=16, equivariant=8, dim=8)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def turned_objects(objects=4, views=5):
    rng = np.random.default_rng(0)
    count = objects * views
    images = rng.integers(0, 255, (count, 16, 16, 3), dtype=np.uint8)
    rotation = Rotation.random(count, random_state=0).as_quat()
    return Frames(images, np.arange(count) % objects, {"rotation": rotation})


def test_maps_are_linear_in_the_rotation_and_in_nothing_else():
    predictor = HyperPredictor(6, generator=seeded()).double()
    z, other, codes = normal(5, 4), normal(5, 4, seed=1), normal(5, 6, seed=2)
    expected = 2 * predictor.maps(z) - 3 * predictor.maps(other)
    torch.testing.assert_close(predictor.maps(2 * z - 3 * other), expected, atol=1e-6, rtol=0)
    each = torch.stack([F.linear(code, own) for code, own in zip(codes, predictor.maps(z), strict=True)])
    torch.testing.assert_close(predictor(codes, z), each, atol=1e-6, rtol=0)
    assert (predictor(codes, torch.zeros_like(z)) == 0).all()
    weight = predictor.hypernetwork.weight.view(6, 6, 4)
    torch.testing.assert_close(predictor.maps(z), torch.einsum("oik,bk->boi", weight, z))


def test_the_published_sizes():
    assert HyperPredictor(1024).hypernetwork.weight.shape == (1024**2, 4)
    shapes = [tuple(value.shape) for name, value in Projector(256, 1024).named_parameters() if name.endswith("weight")]
    assert shapes == [(1024, 256), (1024,), (1024, 1024), (1024,), (1024, 1024)]


def test_the_loss_is_that_of_plain_loops():
    count, width = 6, 3
    *parts, predicted = (normal(count, width, seed=seed) for seed in range(5))
    first, second = tuple(parts[:2]), tuple(parts[2:])

    def mse(a, b):
        return sum((a[n][i] - b[n][i]) ** 2 for n in range(count) for i in range(width)) / (count * width)

    def covariance(u, i, j):
        means = [sum(row[k] for row in u) / count for k in (i, j)]
        return sum((row[i] - means[0]) * (row[j] - means[1]) for row in u) / (count - 1)

    def spread(u):
        size = len(u[0])
        return sum(max(0.0, 1 - (covariance(u, i, i) + 1e-4) ** 0.5) for i in range(size)) / size / 2

    def repetition(u):
        size = len(u[0])
        return sum(covariance(u, i, j) ** 2 for i in range(size) for j in range(size) if i != j) / size

    x, y = (torch.cat(parts, dim=1).tolist() for parts in (first, second))
    expected = 10 * mse(first[0].tolist(), second[0].tolist()) + 0.45 * 10 * mse(predicted.tolist(), second[1].tolist())
    expected += 10 * (spread(x) + spread(y) + spread(predicted.tolist())) + repetition(x) + repetition(y)
    assert float(sie_loss(first, second, predicted, Config()).total) == pytest.approx(expected, abs=1e-10)


def test_gradients_of_the_loss():
    parts = [0.5 * normal(5, 3, seed=seed) for seed in range(5)]
    inputs = [part.requires_grad_() for part in parts]
    assert torch.autograd.gradcheck(lambda a, b, c, d, e: sie_loss((a, b), (c, d), e, Config()).total, inputs)


def test_covariances_between_the_two_parts_count():
    part = normal(50, 1)
    assert float(covariance_loss(torch.cat([part, part], dim=1))) > 0.1
    assert float(covariance_loss(part)) == 0
    assert float(variance_loss(torch.zeros(9, 2))) == pytest.approx(0.5 * 0.99)


def test_rotations_between_views_carry_one_into_the_other_with_one_sign():
    first, second = (Rotation.random(50, random_state=seed) for seed in range(2))
    own = [torch.from_numpy(rotation.as_quat()) for rotation in (first, second)]
    found = relative_rotation(*own)
    np.testing.assert_allclose((first * Rotation.from_quat(found.numpy())).as_matrix(), second.as_matrix(), atol=1e-6)
    assert (found[:, 3] >= 0).all()
    torch.testing.assert_close(relative_rotation(-own[0], own[1]), found)
    as_they_are = relative_rotation(*own, one_sign=False)
    torch.testing.assert_close(relative_rotation(-own[0], own[1], one_sign=False), -as_they_are)
    same = relative_rotation(own[0], own[0])
    torch.testing.assert_close(same, torch.tensor([[0.0, 0, 0, 1]]).double().expand(50, 4), atol=1e-12, rtol=0)


def test_pairs_are_two_views_of_one_object():
    frames = turned_objects()
    rows = np.arange(len(frames))
    other = other_views(frames, rows, seeded())
    assert (other != rows).all()
    assert (frames.episode[other] == frames.episode[rows]).all()
    batch = new(SMALL, frames, 0).batch(frames, rows, seeded())
    torch.testing.assert_close(batch["second"], frames.pixels(other))
    with pytest.raises(ValueError, match="object 2: expected several views, found one"):
        other_views(frames.subset(np.arange(3)), np.array([2]), seeded())
    with pytest.raises(ValueError, match=r"expected \['rotation'\]"):
        new(SMALL, Frames(frames.images, frames.episode), 0)


def test_each_part_is_taught_by_its_own_term():
    frames = turned_objects()
    for name, own in (("invariance", slice(0, 8)), ("equivariance", slice(8, 16))):
        objective = new(SMALL, frames, 0)
        objective(objective.batch(frames, np.arange(12), seeded())).parts[name].backward()
        grad = objective.encoder.layers[-2].weight.grad.abs().sum(dim=1)
        assert (grad[own] > 0).any()
        grad[own] = 0
        assert (grad == 0).all()


def test_ranks_count_how_many_views_fit_at_least_as_well():
    frames = turned_objects()
    encoder = SieEncoder("sie", SMALL).eval()
    found = prediction_ranks(encoder, frames)
    assert found.shape == (len(frames),)
    assert ((found >= 1) & (found <= 5)).all()
    codes = encoder.pose_codes(frames.pixels(np.flatnonzero(frames.episode == 0)))
    turns = torch.from_numpy(frames.columns["rotation"][frames.episode == 0]).float()
    for view in range(5):
        predicted = encoder.turned(codes[:1], relative_rotation(turns[:1], turns[view : view + 1]))
        similarity = F.cosine_similarity(predicted, codes)
        assert found[view] == int((similarity >= similarity[view] - 1e-6).sum())


def test_the_score_has_one_mean_for_all_numbers():
    truth = np.array([[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.6, 0.8]])
    predicted = np.tile(truth.mean(axis=0), (2, 1))
    mean = truth.mean()
    expected = 1 - ((truth - predicted) ** 2).sum() / ((truth - mean) ** 2).sum()
    assert rotation_score(predicted, truth) == pytest.approx(expected)
    assert expected > 0.5  # although the mean of each number tells nothing
    assert rotation_score(truth, truth) == 1.0


def test_an_encoder_comes_back_with_its_predictor(tmp_path):
    encoder = new(SMALL, turned_objects(), 0).encoder.eval()
    encoder.save(tmp_path)
    again = load_encoder(tmp_path)
    images = torch.rand(3, 3, 16, 16, generator=seeded())
    step = F.normalize(torch.randn(3, 4, generator=seeded()), dim=1)
    assert torch.equal(again.turned(again.pose_codes(images), step), encoder.turned(encoder.pose_codes(images), step))
    with pytest.raises(ValueError, match="equivariant: expected a part of the 16 numbers, found 16"):
        replace(SMALL, equivariant=16)
