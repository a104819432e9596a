import pytest
import torch
from e3nn import o3

from representation.data.shapes import shapes
from representation.equivariant.gaunt_tensor_product import (
    ClusterNet,
    Config,
    GauntPointNet,
    gaunt_tensor_product,
    load,
    new,
)
from representation.equivariant.gaunt_tensor_product.layers import (
    DegreeLinear,
    GauntConv,
    GauntManyBody,
    GauntTensorProduct,
)
from representation.equivariant.gaunt_tensor_product.product import by_degree
from representation.equivariant.gaunt_tensor_product.spherical_harmonics import (
    number_of,
    real_spherical_harmonics,
    turned_features,
)


@pytest.fixture
def turn():
    torch.manual_seed(3)
    return o3.rand_matrix(dtype=torch.float64)


def test_weights_are_products_of_three_and_channels_stay_apart():
    layer = GauntTensorProduct(2, 1, 3, channels=4).double()
    with torch.no_grad():
        for weight in layer.parameters():
            weight.normal_()
    one, other = torch.randn(5, 4, 9, dtype=torch.float64), torch.randn(5, 4, 4, dtype=torch.float64)
    plain = gaunt_tensor_product(by_degree(layer.first) * one, by_degree(layer.second) * other)
    torch.testing.assert_close(layer(one, other), by_degree(layer.out * layer.scale) * plain)
    changed = other.clone()
    changed[:, 1] = 0
    same = [0, 2, 3]
    torch.testing.assert_close(layer(one, changed)[:, same], layer(one, other)[:, same])


def test_new_products_keep_the_variance():
    layer = GauntTensorProduct(3, 3, 3, channels=16)
    out = layer(torch.randn(2000, 16, 16), torch.randn(2000, 16, 16))
    for degree in range(4):
        assert float(out[..., degree**2 : number_of(degree)].detach().std()) == pytest.approx(1, abs=0.05)


def test_convolutions_multiply_by_the_direction_and_turn_with_it(turn):
    conv, x = GauntConv(2, 2, 3, channels=3).double(), torch.randn(6, 3, 9, dtype=torch.float64)
    way, radial = torch.randn(6, 3, dtype=torch.float64), torch.rand(6, 3, 3, dtype=torch.float64)
    filters = by_degree(radial) * real_spherical_harmonics(2, way)[:, None]
    expected = by_degree(conv.scale) * gaunt_tensor_product(x, filters, 3, "dense")
    torch.testing.assert_close(conv(x, way, radial), expected)
    moved = conv(turned_features(x, turn), way @ turn.T, radial)
    torch.testing.assert_close(moved, turned_features(expected, turn), atol=1e-10, rtol=0)
    torch.testing.assert_close(conv(x, 5 * way, radial), expected)


def test_powers_are_those_of_products_from_which_nothing_was_cut():
    layer, x = GauntManyBody(2, 4, channels=3, order=4), torch.randn(5, 3, 9, dtype=torch.float64)
    power = x
    for found in layer.powers(x):
        kept = min(number_of(4), power.shape[-1])
        torch.testing.assert_close(found[..., :kept], power[..., :kept], atol=1e-10, rtol=0)
        torch.testing.assert_close(found[..., kept:], torch.zeros_like(found[..., kept:]), atol=1e-10, rtol=0)
        power = gaunt_tensor_product(power, x)
    third = gaunt_tensor_product(gaunt_tensor_product(x, x), x)
    short = gaunt_tensor_product(gaunt_tensor_product(x, x, 2), x, 2)
    assert (third[..., :9] - short).abs().max() > 1e-2


def test_kinds_of_points_have_weights_of_their_own(turn):
    layer, x = GauntManyBody(2, 2, channels=3, order=3, n_species=2).double(), torch.randn(4, 3, 9, dtype=torch.float64)
    species = torch.tensor([0, 1, 0, 1])
    both = layer(x, species)
    torch.testing.assert_close(both[::2], layer(x)[::2])
    assert not torch.allclose(both[1::2], layer(x)[1::2])
    torch.testing.assert_close(layer(turned_features(x, turn), species), turned_features(both, turn), atol=1e-8, rtol=0)
    with pytest.raises(ValueError, match="order, l_out"):
        GauntManyBody(2, 5, channels=1, order=2)


def test_mixing_channels_turns_with_them(turn):
    layer, x = DegreeLinear(3, 5, 2).double(), torch.randn(4, 3, 9, dtype=torch.float64)
    torch.testing.assert_close(layer(turned_features(x, turn)), turned_features(layer(x), turn), atol=1e-10, rtol=0)
    assert layer(torch.zeros_like(x)).abs().max() == 0  # biases are 0 at first
    with torch.no_grad():
        layer.bias += 1
    assert layer(torch.zeros_like(x))[..., 1:].abs().max() == 0


def test_features_of_clouds_turn_by_their_degree(turn):
    torch.manual_seed(0)
    network, points = GauntPointNet(3, 4, 2, (0, 1, 2, 3)).double(), torch.randn(2, 8, 3, dtype=torch.float64)
    with torch.no_grad():
        before, after = network(points), network(points @ turn.T + 1.0)
    for degree, values in before.items():
        whole = torch.zeros(2, 4, 16, dtype=torch.float64)
        whole[..., degree**2 : number_of(degree)] = values
        expected = turned_features(whole, turn)[..., degree**2 : number_of(degree)]
        torch.testing.assert_close(after[degree], expected, atol=1e-9, rtol=0)
        assert values.abs().max() > 1e-4
    with pytest.raises(ValueError, match="out_l: expected degrees up to 1"):
        GauntPointNet(1, 2, 1, (2,))


def test_features_of_points_are_told_and_turn_with_the_cloud(turn):
    torch.manual_seed(0)
    network, points = GauntPointNet(2, 4, 1, in_channels=3, in_l=1).double(), torch.randn(2, 8, 3, dtype=torch.float64)
    features = torch.randn(2, 8, 3, 4, dtype=torch.float64)
    moved = torch.cat([features[..., :1], features[..., 1:] @ turn.T], dim=3)  # vectors are features of degree 1
    with torch.no_grad():
        before, after = network(points, features=features), network(points @ turn.T, features=moved)
        other = network(points, features=-features)
    torch.testing.assert_close(after[0], before[0], atol=1e-9, rtol=0)
    torch.testing.assert_close(after[1], before[1] @ turn.T, atol=1e-9, rtol=0)
    assert (other[0] - before[0]).abs().max() > 1e-4
    with pytest.raises(ValueError, match=r"features: expected \(16, 3, 4\), found None"):
        network(points)
    with pytest.raises(ValueError, match=r"features: expected None, found \(16, 3, 4\)"):
        GauntPointNet(2, 4, 1).double()(points, features=features)
    with pytest.raises(ValueError, match="in_l: expected 0 to 1, found 2"):
        GauntPointNet(1, 2, 1, (0,), in_channels=1, in_l=2)


def test_clusters_of_species_turn_and_far_points_are_not_seen(turn):
    torch.manual_seed(0)
    network = ClusterNet(2, cutoff=2.0, l_max=2, l_out=3, channels=3, order=3).double()
    positions, species = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 1, 0, 1, 1, 0])
    with torch.no_grad():
        before = network(positions, species)
        assert before.shape == (6, 3, 16)
        after = network(positions @ turn.T + 3.0, species)
        torch.testing.assert_close(after, turned_features(before, turn), atol=1e-9, rtol=0)
        order = torch.tensor([3, 1, 5, 0, 4, 2])
        torch.testing.assert_close(network(positions[order], species[order]), before[order])
        assert (network(positions, 1 - species) - before).abs().max() > 1e-4
        pair = [torch.tensor([[0.0, 0, 0], [0, far, 0]], dtype=torch.float64) for far in (2 - 1e-4, 2 + 1e-4)]
        near, apart = (network(one, species[:2]) for one in pair)
    assert torch.equal(apart, torch.zeros_like(apart))
    assert 0 < near.abs().max() < 1e-4
    with pytest.raises(ValueError, match="species: expected 0 to 1, found 0 to 2"):
        network(positions, torch.tensor([0, 1, 2, 0, 0, 0]))
    with pytest.raises(ValueError, match=r"positions, species: expected \(N, 3\) and \(N,\)"):
        network(positions, species[:3])


def test_the_encoder_turns_exactly_and_damaged_files_are_named(turn, tmp_path):
    frames = shapes(8, 24, seed=0)
    encoder = new(Config(points=24, channels=4, layers=1, outputs=6), frames, seed=0).encoder.eval()
    points = torch.from_numpy(frames.columns["points"]).double()
    encoder = encoder.double()
    with torch.no_grad():
        before, after = encoder.features(points), encoder.features(points @ turn.T - 2.0)
    torch.testing.assert_close(after.scalars, before.scalars, atol=1e-8, rtol=0)
    torch.testing.assert_close(after.vectors, before.vectors @ turn.T, atol=1e-8, rtol=0)
    encoder.save(tmp_path)
    file = tmp_path / "encoder.json"
    file.write_text(file.read_text().replace("channels", "canals"))
    with pytest.raises(ValueError, match="expected the configuration of an encoder of gaunt"):
        load(tmp_path)
    with pytest.raises(ValueError, match="l_max: expected at least 1"):
        Config(l_max=0)
