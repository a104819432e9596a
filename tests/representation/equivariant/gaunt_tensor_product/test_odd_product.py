import math

import pytest
import torch
from e3nn import o3

from representation.equivariant.gaunt_tensor_product import gaunt_tensor_product, odd_product
from representation.equivariant.gaunt_tensor_product.spherical_harmonics import degrees, number_of, turned_features


def of_degree(degree):
    """All unit features of a degree, (2 l + 1, (l + 1)^2)."""
    return torch.eye(number_of(degree), dtype=torch.float64)[degree**2 :]


@pytest.mark.parametrize("l1", range(4))
@pytest.mark.parametrize("l2", range(4))
def test_it_has_the_paths_of_odd_sums_and_no_others(l1, l2):
    found = odd_product(of_degree(l1)[:, None], of_degree(l2)[None], l1 + l2)
    for l3 in range(l1 + l2 + 1):
        path = found[..., l3**2 : number_of(l3)]
        if (l1 + l2 + l3) % 2 == 0 or l3 < abs(l1 - l2):
            assert path.abs().max() < 1e-12
            continue
        expected = o3.wigner_3j(l1, l2, l3, dtype=torch.float64)
        factor = (path * expected).sum()  # expected has norm 1
        assert factor.abs() > 0.1
        torch.testing.assert_close(path, factor * expected, atol=1e-10, rtol=0)


def test_of_vectors_it_is_the_cross_product():
    x1, x2 = torch.zeros(2, 5, 4, dtype=torch.float64)
    x1[:, 1:], x2[:, 1:] = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = odd_product(x1, x2)
    expected = math.sqrt(3 / (4 * math.pi)) * torch.linalg.cross(x1[:, 1:], x2[:, 1:])
    torch.testing.assert_close(found[:, 1:], expected, atol=1e-12, rtol=0)
    assert found[:, 0].abs().max() < 1e-12


def test_it_turns_and_is_mirrored_with_a_minus_where_the_gaunt_product_is_without():
    torch.manual_seed(0)
    x1, x2, turn = torch.randn(5, 16).double(), torch.randn(5, 9).double(), o3.rand_matrix(dtype=torch.float64)
    found = odd_product(x1, x2)
    assert found.abs().max() > 0.1
    moved = odd_product(turned_features(x1, turn), turned_features(x2, turn))
    torch.testing.assert_close(moved, turned_features(found, turn), atol=1e-10, rtol=0)
    torch.testing.assert_close(odd_product(x2, x1), -found, atol=1e-10, rtol=0)
    signs = [(-1.0) ** degrees(degree) for degree in (3, 2, 4)]
    for product, sign in ((odd_product, -1), (gaunt_tensor_product, 1)):
        mirrored = product(x1 * signs[0], x2 * signs[1], 4)
        torch.testing.assert_close(mirrored, sign * signs[2] * product(x1, x2, 4), atol=1e-10, rtol=0)
    single = odd_product(x1.float(), x2.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, found.float(), atol=1e-4, rtol=1e-4)


def test_gradients_reach_both_features():
    torch.manual_seed(0)
    both = [torch.randn(2, 9, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(odd_product, both)
