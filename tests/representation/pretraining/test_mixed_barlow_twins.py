from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.autograd.functional import jacobian

from representation.data.frames import Frames
from representation.image_tower import TowerConfig, TowerEncoder, new_tower
from representation.pretraining.mixed_barlow_twins import (
    Config,
    MixedBarlowTwins,
    Projector,
    barlow_twins_loss,
    cross_correlation,
    draw_mixture,
    load_released,
    mixed,
    mixing_loss,
    new,
    standardised,
)
from representation.registry import load_encoder


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def views(count, width):
    return [standardised(normal(count, width, seed=seed)) for seed in range(3)]


def test_vectors_that_mix_as_their_pictures_do_cost_nothing():
    za, zb, _ = views(16, 6)
    permutation = torch.randperm(16, generator=seeded())
    exact = 0.3 * za + 0.7 * zb[permutation]
    assert float(mixing_loss(za, zb, exact, 0.3, permutation)) < 1e-16
    assert float(mixing_loss(za, zb, za, 1.0, permutation)) < 1e-16
    assert float(mixing_loss(za, zb, za, 0.3, permutation)) > 1e-3


def test_equal_views_with_orthogonal_numbers_cost_what_the_standard_deviation_leaves():
    count, width = 24, 5
    columns, _ = torch.linalg.qr(torch.cat([torch.ones(count, 1).double(), normal(count, width)], dim=1))
    z = standardised(columns[:, 1:])
    assert float(barlow_twins_loss(z, z, 1.0).total) == pytest.approx(width / count**2, abs=1e-6)


def test_independent_numbers_correlate_by_one_over_the_batch():
    count = 200
    correlation = cross_correlation(*views(count, 100)[:2])
    assert float(correlation.square().mean()) == pytest.approx(1 / count, rel=0.05)


def test_losses_are_those_of_plain_loops():
    count, width, alpha, lambda_bt = 8, 5, 0.35, 0.2
    za, zb, zm = views(count, width)
    permutation = torch.randperm(count, generator=seeded(4))
    a, b, m = za.tolist(), zb.tolist(), zm.tolist()
    partner = [b[row] for row in permutation.tolist()]

    def product(x, y, i, j):
        return sum(x[n][i] * y[n][j] for n in range(count)) / count

    twins = regular = 0.0
    for i in range(width):
        for j in range(width):
            c = product(a, b, i, j)
            twins += (c - 1) ** 2 if i == j else lambda_bt * c**2
            for other in (a, b):
                target = alpha * product(a, other, i, j) + (1 - alpha) * product(partner, other, i, j)
                regular += (product(m, other, i, j) - target) ** 2
    assert float(barlow_twins_loss(za, zb, lambda_bt).total) == pytest.approx(twins, abs=1e-10)
    assert float(mixing_loss(za, zb, zm, alpha, permutation)) == pytest.approx(regular, abs=1e-10)


def test_standardising_is_that_of_numpy_and_its_gradient_survives_dead_numbers():
    z = normal(7, 3)
    expected = (z.numpy() - z.numpy().mean(axis=0)) / z.numpy().std(axis=0, ddof=1)
    np.testing.assert_allclose(standardised(z).numpy(), expected, atol=1e-12)
    dead = torch.cat([z, torch.ones(7, 1).double()], dim=1).requires_grad_()
    found = standardised(dead)
    assert (found[:, 3] == 0).all()
    found.square().sum().backward()
    assert torch.isfinite(dead.grad).all()


def test_gradients_of_the_whole_loss_reach_mixtures_and_targets():
    permutation = torch.randperm(6, generator=seeded(1))

    def loss(za, zb, zm):
        za, zb, zm = standardised(za), standardised(zb), standardised(zm)
        return barlow_twins_loss(za, zb, 0.1).total + 0.4 * mixing_loss(za, zb, zm, 0.3, permutation)

    inputs = [normal(6, 3, seed=seed).requires_grad_() for seed in range(3)]
    assert torch.autograd.gradcheck(loss, inputs)


def test_a_linear_network_mixes_vectors_as_pictures_are_mixed():
    network = nn.Linear(10, 4, bias=False).double()
    ya, yb = normal(9, 10), normal(9, 10, seed=1)
    drawn = draw_mixture(9, seeded(2))
    expected = mixed(network(ya), network(yb), **drawn)
    torch.testing.assert_close(network(mixed(ya, yb, **drawn)), expected, atol=1e-6, rtol=0)
    partner = yb[int(drawn["permutation"][0])]
    torch.testing.assert_close(mixed(ya, yb, **drawn)[0], drawn["alpha"] * ya[0] + (1 - drawn["alpha"]) * partner)


def test_only_mixtures_let_two_pictures_act_on_each_other():
    count = 4
    permutation = torch.roll(torch.arange(count), 1)
    weights = normal(5, 3)
    ya, yb = normal(count, 5), normal(count, 5, seed=1)

    def network(y):
        return torch.tanh(y @ weights)  # no statistics of the batch

    def of_one_pair(correlate):
        """How the effect of picture 0 of view A changes with its partner's of view B."""

        def effect(partner):
            other = torch.cat([yb[: count - 1], partner[None]])
            return jacobian(lambda own: correlate(torch.cat([own[None], ya[1:]]), other), ya[0], create_graph=True)

        return jacobian(effect, yb[count - 1]).abs().max()

    assert permutation[0] == count - 1
    assert float(of_one_pair(lambda a, b: cross_correlation(network(a), network(b)))) == 0
    with_mixtures = of_one_pair(
        lambda a, b: (
            cross_correlation(network(mixed(a, b, 0.5, permutation)), network(a))
            - cross_correlation(mixed(network(a), network(b), 0.5, permutation), network(a))
        )
    )
    assert float(with_mixtures) > 1e-3


def test_the_total_weighs_its_parts_and_without_mixtures_it_is_barlow_twins():
    ya, yb = torch.rand(2, 12, 10, generator=seeded())
    drawn = draw_mixture(12, seeded(1))

    def loss(lambda_reg, normalize_rows=True):
        projector = Projector(10, 8, 6, seeded())
        return MixedBarlowTwins(nn.Identity(), projector, 1 / 6, lambda_reg, normalize_rows)(ya, yb, **drawn)

    found, plain = loss(4.0), loss(0.0)
    parts = found.parts
    twins = parts["agreement"] + parts["redundancy"] / 6
    torch.testing.assert_close(found.total, twins + 4 / 6 * parts["mixing"])
    torch.testing.assert_close(plain.total, twins)
    assert "mixing" not in plain.parts
    assert not torch.isclose(loss(4.0, normalize_rows=False).total, found.total)


def test_the_projector_has_the_released_sizes_and_knows_its_batch_alone():
    projector = Projector(512, 512, 1024)
    shapes = {name: tuple(value.shape) for name, value in projector.state_dict().items()}
    expected = {
        "0.weight": (512, 512),
        "1.weight": (512,),
        "1.bias": (512,),
        "3.weight": (1024, 512),
        "3.bias": (1024,),
    }
    assert shapes == expected
    inputs = torch.rand(8, 512, generator=seeded())
    torch.testing.assert_close(projector.eval()(inputs), projector.train()(inputs))


def test_views_differ_and_one_share_and_permutation_serve_a_batch():
    images = np.random.default_rng(0).integers(0, 255, (16, 40, 40, 3), dtype=np.uint8)
    frames = Frames(images, np.arange(16))
    objective = new(Config(), frames, 0)
    batch = objective.batch(frames, np.arange(8), seeded())
    assert batch["a"].shape == (8, 3, 32, 32)
    assert not torch.equal(batch["a"], batch["b"])
    assert batch["alpha"].shape == ()
    assert sorted(batch["permutation"].tolist()) == list(range(8))
    shares = [float(draw_mixture(2, seeded(seed))["alpha"]) for seed in range(200)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.06)
    assert np.std(shares) == pytest.approx(12**-0.5, abs=0.03)


def released(tower: nn.Module, pooled: bool) -> dict[str, torch.Tensor]:
    """Tensors of a network as they are published for small pictures: children are numbered, a pool among them."""
    order = ["conv1", "bn1", "relu", *(["maxpool"] if pooled else []), "layer1", "layer2", "layer3", "layer4"]
    state = {}
    for name, value in tower.state_dict().items():
        child, _, rest = name.partition(".")
        state[f"f.{order.index(child)}.{rest}"] = value
    return state | {"f.total_ops": torch.zeros(1), "total_params": torch.zeros(1)}


@pytest.mark.parametrize("pooled", [False, True])
def test_published_networks_for_small_pictures_are_read_under_their_names(pooled, tmp_path):
    theirs = new_tower(TowerConfig("resnet18", 64, 64 if pooled else 32, pool=pooled), "mixed_barlow_twins", seeded())
    head = Projector(512, 512, 1024, seeded(1))
    state = released(theirs.tower, pooled) | {f"g.{name}": value for name, value in head.state_dict().items()}
    state |= {"g.1.running_mean": torch.zeros(512), "g.1.running_var": torch.ones(512)}
    save_file(state, tmp_path / "released.safetensors")
    encoder, projector = load_released(tmp_path / "released.safetensors")
    assert (encoder.width, encoder.config.resolution, encoder.config.pool) == (512, 64 if pooled else 32, pooled)
    for ours, other in ((encoder.tower, theirs.tower), (projector, head)):
        for name, value in other.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value)
    encoder.save(tmp_path / "encoder")
    pictures = torch.rand(2, 3, 32, 32, generator=seeded())
    assert torch.equal(load_encoder(tmp_path / "encoder").encode(pictures), encoder.encode(pictures))
    del state["f.0.weight"]
    save_file(state, tmp_path / "released.safetensors")
    with pytest.raises(ValueError, match=r"expected a published network of Mixed Barlow Twins"):
        load_released(tmp_path / "released.safetensors")


def test_a_published_network_for_large_pictures_has_the_names_of_torchvision(tmp_path):
    theirs = TowerEncoder(TowerConfig("resnet50", 64, 224, "large", pool=True), "mixed_barlow_twins")
    save_file(theirs.tower.state_dict(), tmp_path / "released.safetensors")
    encoder, projector = load_released(tmp_path / "released.safetensors")
    assert projector is None
    assert torch.equal(encoder.tower.layer4[2].conv3.weight, theirs.tower.layer4[2].conv3.weight)
