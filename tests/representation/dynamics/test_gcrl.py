from __future__ import annotations

import pytest
import torch
from torch.autograd.functional import jacobian

from representation.dynamics.gcrl import GCRL, GCRLConfig
from representation.dynamics.gcrl.flows import Flow, MixturePrior
from representation.dynamics.gcrl.model import coupled_bound, log_likelihood
from representation.dynamics.gcrl.scenes import simulate_crossing
from representation.dynamics.gcrl.training import adapt, constant_velocity, fit, min_ade_fde
from representation.registry import load_encoder


@pytest.mark.parametrize("dim", [2, 4, 8])
def test_flows_come_back_and_tell_how_they_stretch(dim):
    torch.manual_seed(0)
    flow, x = Flow(dim).double(), torch.randn(5, dim, dtype=torch.float64)
    u, log_det = flow(x)
    assert (flow.inverse(u) - x).abs().max() < 1e-10
    for row, expected in zip(x, log_det, strict=True):
        found = torch.linalg.slogdet(jacobian(lambda y: flow(y)[0], row)).logabsdet
        assert found == pytest.approx(expected.item(), abs=1e-8)
    assert log_det.abs().max() > 1e-3


def test_the_mixture_is_a_density_and_finite_far_away():
    prior = MixturePrior(5, 2)
    grid = torch.linspace(-15, 20, 351)
    points = torch.cartesian_prod(grid, grid)
    assert (prior.log_prob(points).exp().sum() * 0.1**2).item() == pytest.approx(1, abs=1e-2)
    assert torch.isfinite(prior.log_prob(torch.full((2,), 1e3)))


def test_likelihoods_are_those_of_a_normal():
    told, true = torch.randn(3, 4, 6, 2, 2), torch.randn(4, 6, 2, 2)
    expected = torch.distributions.Normal(told, 0.5**0.5).log_prob(true).sum(dim=(-3, -2, -1))
    torch.testing.assert_close(log_likelihood(told, true), expected, atol=1e-3, rtol=1e-5)


def test_the_coupled_bound_is_the_plain_one_where_samples_foretell_alike():
    evidence = torch.randn(7, 3)
    same = torch.full((7, 3), -900.0)
    torch.testing.assert_close(coupled_bound(same, evidence), evidence.mean(dim=0) - 900)
    one = torch.randn(1, 3)
    torch.testing.assert_close(coupled_bound(one, evidence[:1]), one[0] + evidence[0])


def test_agents_keep_their_distance_and_arrive():
    for distance in (0.1, 0.6):
        tracks = simulate_crossing(50, distance, seed=0)
        apart = (tracks[:, :, 0] - tracks[:, :, 1]).norm(dim=-1).amin(dim=1)
        assert apart.median() > 1.6 * distance
        assert (tracks[:, -1] + tracks[:, 0]).norm(dim=-1).mean() < 3.0
    assert torch.equal(simulate_crossing(3, 0.3, 1), simulate_crossing(3, 0.3, 1))


@pytest.mark.parametrize("coupled", [False, True])
def test_training_lowers_errors_and_adapting_keeps_z(coupled, tmp_path):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = GCRL(GCRLConfig(coupled=coupled))
    scenes = simulate_crossing(128, 0.4, seed=0)
    past, future = scenes[:, :8], scenes[:, 8:]
    before = min_ade_fde(model.predict(past, 20, generator), future)[0].mean()
    fit(model, [scenes[:64], scenes[64:]], 30, generator)
    after = min_ade_fde(model.predict(past, 20, generator), future)[0].mean()
    assert after < 0.8 * before
    kept = [p.clone() for part in model.z_side for p in part.parameters()]
    decoder = model.future_decoder.read[0].weight.clone()
    adapt(model, scenes[:64], generator, epochs=2)
    assert all(torch.equal(a, p) for a, p in zip(kept, (p for m in model.z_side for p in m.parameters()), strict=True))
    assert not torch.equal(decoder, model.future_decoder.read[0].weight)
    model.save(tmp_path / "model")
    again = load_encoder(tmp_path / "model")
    told = [m.predict(past, 5, torch.Generator().manual_seed(1)) for m in (model, again)]
    assert torch.equal(*told)


def test_more_samples_are_never_worse_and_straight_tracks_go_on():
    told, true = torch.randn(6, 3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    found = [min_ade_fde(told[:k], true)[0] for k in (1, 3, 6)]
    assert (found[1] <= found[0]).all()
    assert (found[2] <= found[1]).all()
    steps = torch.arange(20.0)[:, None, None] * torch.tensor([[0.4, 0.0], [0.0, -0.4]])
    ade, fde = min_ade_fde(constant_velocity(steps[None, :8], 12), steps[None, 8:])
    assert max(ade.item(), fde.item()) < 1e-5
    with pytest.raises(ValueError, match=r"past: expected \(B, 8, 2, 2\), found \(1, 7, 2, 2\)"):
        GCRL(GCRLConfig()).posteriors(steps[None, :7])
