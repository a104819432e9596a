import pytest
import scipy.linalg
import torch

from representation.equivariant.lie_decompositions import polar_decompose, polar_exp, polar_log


def matrices(n, count=1000):
    drawn = torch.randn(4 * count, n, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    return drawn[torch.linalg.det(drawn) > 0.05][:count]


@pytest.mark.parametrize("n", [2, 3])
def test_maps_are_stretches_of_rotations_and_come_back_from_their_logarithms(n):
    g = matrices(n)
    assert len(g) == 1000
    stretch, rotation = polar_decompose(g)
    assert float((stretch @ rotation - g).abs().max()) < 1e-12
    assert float((rotation @ rotation.mT - torch.eye(n)).abs().max()) < 1e-11
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(1000, dtype=torch.float64))
    assert float(torch.linalg.eigvalsh(stretch).min()) > 0
    assert float((polar_exp(polar_log(g)) - g).abs().max()) < 1e-10


def test_a_map_without_a_real_logarithm_has_a_place_in_the_chart():
    g = torch.diag(torch.tensor([-2.0, -0.5], dtype=torch.float64))
    assert abs(scipy.linalg.logm(g.numpy()).imag).max() > 1
    assert float((polar_exp(polar_log(g)) - g).abs().max()) < 1e-12


def test_small_rotations_in_space_keep_their_digits():
    x = torch.zeros(3, 3, dtype=torch.float64)
    x[0, 1], x[1, 0] = -1e-7, 1e-7
    torch.testing.assert_close(polar_log(polar_exp(x)), x, atol=1e-14, rtol=0)


def test_reflections_and_other_shapes_are_refused():
    with pytest.raises(ValueError, match="g: expected positive determinants"):
        polar_log(torch.diag(torch.tensor([1.0, -1.0])))
    with pytest.raises(ValueError, match=r"g: expected \(..., n, n\), found \(2, 3\)"):
        polar_decompose(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="rotation: expected 2 x 2 or 3 x 3"):
        polar_log(torch.eye(4))
