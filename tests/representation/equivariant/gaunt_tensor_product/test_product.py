import math

import pytest
import torch
from e3nn import o3
from torch.autograd import gradcheck

from representation.equivariant.gaunt_tensor_product.fourier import fourier_to_sh, sh_to_fourier
from representation.equivariant.gaunt_tensor_product.product import (
    gaunt_coefficients,
    gaunt_tensor_product,
    output_deviation,
    path_strength,
)
from representation.equivariant.gaunt_tensor_product.spherical_harmonics import (
    degrees,
    number_of,
    real_spherical_harmonics,
    sphere_quadrature,
    turned_features,
    wigner_d,
)

METHODS = ["fft", "grid", "dense"]


def features(l_max, *shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, number_of(l_max), generator=generator, dtype=torch.float64).to(dtype)


def rotations(count, seed=0):
    torch.manual_seed(seed)
    return o3.rand_matrix(count, dtype=torch.float64)


def test_spherical_harmonics_are_those_of_e3nn_and_go_beyond_them():
    ways = torch.randn(20, 3, dtype=torch.float64)
    expected = o3.spherical_harmonics(list(range(9)), ways, normalize=True, normalization="integral")
    torch.testing.assert_close(real_spherical_harmonics(8, ways), expected, atol=1e-12, rtol=0)
    directions, weights = sphere_quadrature(40)
    values = real_spherical_harmonics(20, directions)
    gram = torch.einsum("q,qa,qb->ab", weights, values, values)
    torch.testing.assert_close(gram, torch.eye(441, dtype=torch.float64), atol=1e-11, rtol=0)
    assert real_spherical_harmonics(2, torch.zeros(3))[1:].abs().max() == 0


def test_features_turn_as_those_of_e3nn():
    turn = rotations(1)[0]
    for degree in range(5):
        expected = o3.Irrep(degree, 1).D_from_matrix(turn)
        torch.testing.assert_close(wigner_d(degree, turn), expected, atol=1e-5, rtol=0)  # e3nn goes through angles
        own = wigner_d(degree, turn)
        torch.testing.assert_close(own @ own.T, torch.eye(2 * degree + 1, dtype=torch.float64), atol=1e-12, rtol=0)
    one, other = rotations(2)
    both = turned_features(turned_features(features(4), one), other)
    torch.testing.assert_close(turned_features(features(4), other @ one), both, atol=1e-12, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_the_product_of_features_is_that_of_their_functions(method):
    one, other = features(3), features(3, seed=1)
    ways = torch.randn(50, 3, dtype=torch.float64)
    values = [real_spherical_harmonics(3, ways) @ each for each in (one, other)]
    product = gaunt_tensor_product(one, other, method=method)
    assert len(product) == number_of(6)
    torch.testing.assert_close(real_spherical_harmonics(6, ways) @ product, values[0] * values[1], atol=1e-12, rtol=0)


def test_coefficients_are_those_of_e3nn_times_a_number_for_each_path():
    known = {(1, 1, 0): 0.488602512, (1, 1, 2): 0.690988299, (1, 2, 1): 0.690988299, (2, 2, 2): 0.753930044}
    for path, expected in (known | {(1, 2, 3): 0.846284375, (2, 2, 4): 1.011503297}).items():
        assert path_strength(*path) == pytest.approx(expected, abs=1e-8)
    for l1 in range(4):
        for l2 in range(4):
            for l3 in range(7):
                found = gaunt_coefficients(l1, l2, l3)
                if (l1 + l2 + l3) % 2 or not abs(l1 - l2) <= l3 <= l1 + l2:
                    assert not found.any()
                    continue
                expected = path_strength(l1, l2, l3) * o3.wigner_3j(l1, l2, l3, dtype=torch.float64)
                torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_the_product_is_e3nns_full_tensor_product_weighted_by_path(method):
    """Every path of even sum of e3nn's product, times the strength of the path, summed up by degree."""
    l_max, one, other = 3, features(3, 5), features(3, 5, seed=1)
    irreps = o3.Irreps([(1, (degree, (-1) ** degree)) for degree in range(l_max + 1)])
    full = o3.FullTensorProduct(irreps, irreps, irrep_normalization="norm").double()
    out, expected = full(one, other), torch.zeros(5, number_of(2 * l_max), dtype=torch.float64)
    for instruction in full.instructions:
        l1, l2 = irreps[instruction.i_in1].ir.l, irreps[instruction.i_in2].ir.l
        target = full.irreps_out[instruction.i_out].ir
        part = out[:, full.irreps_out.slices()[instruction.i_out]]
        block = slice(target.l**2, number_of(target.l))
        w3j = torch.einsum(
            "abc,za,zb->zc",
            o3.wigner_3j(l1, l2, target.l, dtype=torch.float64),
            one[:, l1**2 : number_of(l1)],
            other[:, l2**2 : number_of(l2)],
        )
        # e3nn's output is its 3j sum up to a normalisation, which is left out here.
        scale = float((part * w3j).sum() / (w3j * w3j).sum())
        torch.testing.assert_close(part, scale * w3j, atol=1e-5, rtol=0)
        expected[:, block] += path_strength(l1, l2, target.l) * part / scale
    found = gaunt_tensor_product(one, other, method=method)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_products_turn_with_their_factors(method, dtype, tolerance):
    one, other = features(6, 3, dtype=dtype), features(6, 3, seed=1, dtype=dtype)
    parity = (1 - 2 * (degrees(6) % 2)).to(dtype)
    for turn in rotations(10):
        turn = turn.to(dtype)
        moved = gaunt_tensor_product(turned_features(one, turn), turned_features(other, turn), 6, method)
        expected = turned_features(gaunt_tensor_product(one, other, 6, method), turn)
        assert float((moved - expected).abs().max()) < tolerance
    mirrored = gaunt_tensor_product(parity * one, parity * other, 6, method)
    assert float((mirrored - parity * gaunt_tensor_product(one, other, 6, method)).abs().max()) < tolerance


@pytest.mark.parametrize("method", METHODS)
def test_the_product_commutes_has_gradients_and_is_exact_in_what_is_kept(method):
    one, other = features(2, 2), features(3, 2, seed=1)
    whole = gaunt_tensor_product(one, other, method=method)
    torch.testing.assert_close(gaunt_tensor_product(other, one, method=method), whole, atol=1e-12, rtol=0)
    for l_out in range(5):
        kept = gaunt_tensor_product(one, other, l_out, method)
        torch.testing.assert_close(kept, whole[:, : number_of(l_out)], atol=1e-12, rtol=0)
    inputs = [features(2, 1).requires_grad_(), features(2, 1, seed=1).requires_grad_()]
    assert gradcheck(lambda a, b: gaunt_tensor_product(a, b, None, method), inputs)


def test_factors_of_other_shapes_are_broadcast():
    one, other = features(2, 4, 3), features(1, 4, 1, seed=1)
    expected = gaunt_tensor_product(one, other.expand(4, 3, 4), 2)
    for method in METHODS:
        torch.testing.assert_close(gaunt_tensor_product(one, other, 2, method), expected, atol=1e-12, rtol=0)


def test_tables_of_frequencies_hold_two_of_them_and_lead_back():
    table = sh_to_fourier(4)
    order = torch.cat([torch.arange(-degree, degree + 1) for degree in range(5)])
    frequency = torch.arange(-4, 5)
    is_used = frequency.abs()[None, :] == order.abs()[:, None]
    assert table.abs().amax(dim=1)[~is_used].max() < 1e-12
    too_high = frequency.abs()[None, :] > degrees(4)[:, None]
    assert table.abs().amax(dim=2)[too_high].max() < 1e-12
    back = torch.einsum("auv,buv->ab", table, fourier_to_sh(4, 4))
    torch.testing.assert_close(back.real, torch.eye(25, dtype=torch.float64), atol=1e-12, rtol=0)


def test_outputs_have_the_deviation_that_is_told():
    product = gaunt_tensor_product(features(2, 20000), features(2, 20000, seed=1))
    for degree, expected in enumerate(output_deviation(2, 2, 4)):
        found = product[:, degree**2 : number_of(degree)].std()
        assert float(found) == pytest.approx(float(expected), rel=0.05)


def test_wrong_features_are_refused():
    with pytest.raises(ValueError, match=r"expected \(L \+ 1\)\^2 in the last dimension, found 5"):
        gaunt_tensor_product(torch.zeros(5), torch.zeros(4))
    with pytest.raises(ValueError, match=r"float32 or float64, found torch\.float16"):
        gaunt_tensor_product(torch.zeros(4, dtype=torch.float16), torch.zeros(4, dtype=torch.float16))
    with pytest.raises(ValueError, match="l_out: expected at most 2, found 3"):
        gaunt_tensor_product(torch.zeros(4), torch.zeros(4), 3)
    with pytest.raises(ValueError, match="method"):
        gaunt_tensor_product(torch.zeros(4), torch.zeros(4), 1, "slow")


def test_the_integral_over_the_sphere_goes_over_half_a_circle():
    """The constant function: its coefficient is 1 / sqrt(4 pi), and the integral of 1 over the sphere 4 pi."""
    assert sh_to_fourier(0).item().real == pytest.approx(1 / math.sqrt(4 * math.pi))
    assert fourier_to_sh(0, 2)[0, 2, 2].item().real == pytest.approx(math.sqrt(4 * math.pi))


@pytest.mark.parametrize("method", ["fft", "grid", "dense"])
def test_tables_that_inference_made_serve_training(method):
    with torch.inference_mode():
        gaunt_tensor_product(torch.ones(2, 36), torch.ones(2, 49), 7, method)
    features = torch.ones(2, 36, requires_grad=True)
    gaunt_tensor_product(features, torch.ones(2, 49), 7, method).square().sum().backward()
    assert features.grad.abs().max() > 0
