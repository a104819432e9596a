from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian

from representation.dynamics.gcrl import GCRL, GRAPH, GCRLConfig
from representation.dynamics.gcrl.flows import Flow, MixturePrior
from representation.dynamics.gcrl.identifiability import mean_correlation_coefficient
from representation.dynamics.gcrl.model import coupled_bound, log_likelihood
from representation.dynamics.gcrl.scenes import simulate_crossing, simulate_people
from representation.dynamics.gcrl.train import held_out, main
from representation.dynamics.gcrl.training import adapt, constant_velocity, fit, forecast_error, min_ade_fde
from representation.registry import load_model


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
    told, true = torch.randn(3, 4, 6, 2, 2).double(), torch.randn(4, 6, 2, 2).double()
    expected = torch.distributions.Normal(told, torch.tensor(0.5).double().sqrt()).log_prob(true).sum(dim=(-3, -2, -1))
    torch.testing.assert_close(log_likelihood(told, true), expected, atol=1e-10, rtol=0)


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
    again = load_model(tmp_path / "model")
    told = [m.predict(past, 5, torch.Generator().manual_seed(1)) for m in (model, again)]
    assert torch.equal(*told)


def test_the_best_epoch_is_kept_by_other_scenes(monkeypatch):
    errors, seen = [3.0, 1.0, 2.0], []

    def told(model, scenes):
        assert scenes is validation
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return errors[len(seen) - 1]

    monkeypatch.setattr("representation.dynamics.gcrl.training.forecast_error", told)
    model, validation = GCRL(GCRLConfig()), simulate_crossing(8, 0.4, seed=1)
    fit(model, [simulate_crossing(64, 0.4, seed=0)], 3, torch.Generator().manual_seed(0), validation=validation)
    assert len(seen) == 3
    for name, value in model.state_dict().items():
        assert torch.equal(value, seen[1][name])
    assert not torch.equal(seen[2]["x_to_z.mean.weight"], seen[1]["x_to_z.mean.weight"])


def test_errors_of_forecasts_are_those_of_their_best_samples():
    model, scenes = GCRL(GCRLConfig()), simulate_crossing(16, 0.4, seed=0)
    told = model.predict(scenes[:, :8], 5, torch.Generator().manual_seed(3))
    expected = min_ade_fde(told, scenes[:, 8:])[0].mean().item()
    assert forecast_error(model, scenes, samples=5, seed=3) == pytest.approx(expected)


def test_causes_are_alike_as_far_as_one_is_a_linear_map_of_the_other():
    generator = torch.Generator().manual_seed(0)
    a, noise = torch.randn(500, 3, generator=generator), torch.randn(500, 2, generator=generator)
    b = a @ torch.randn(3, 2, generator=generator) + 7
    assert mean_correlation_coefficient(a, b) == pytest.approx(1)
    assert mean_correlation_coefficient(a, noise) < 0.2
    half = torch.stack([a[:, 0], a[:, 0] + torch.randn(500, generator=generator)], dim=1)
    assert mean_correlation_coefficient(a, half) == pytest.approx((1 + 0.5**0.5) / 2, abs=0.03)
    assert mean_correlation_coefficient(a, torch.ones(500, 2)) == 0
    for other in (b[:100], b[:4]):
        with pytest.raises(ValueError, match="expected as many scenes of each, more than 4"):
            mean_correlation_coefficient(a[: 4 if len(other) == 4 else 500], other)


@pytest.mark.parametrize(("count", "share"), [(1, 0.1), (10, 0.0), (10, 1.0)])
def test_scenes_to_choose_an_epoch_by_are_needed(count, share):
    with pytest.raises(ValueError, match="expected two at least and a share in"):
        held_out(torch.zeros(count, 20, 2, 2), share)


def test_the_last_scenes_are_held_out():
    scenes = torch.arange(10.0)[:, None, None, None].expand(10, 20, 2, 2)
    learned, validation = held_out(scenes, 0.25)
    assert (len(learned), validation[:, 0, 0, 0].tolist()) == (8, [8, 9])


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


GRAPH_SMALL = dataclasses.replace(GRAPH, latent=16, samples=4)


def people(count: int, agents: int, seed: int = 0) -> torch.Tensor:
    """Scenes (count, 20, agents, 2) about an arm that stands still."""
    arm = torch.zeros(count, 20, 2)
    others = simulate_people(arm, agents - 1, 0.4, torch.Generator().manual_seed(seed))
    return torch.cat([arm[:, :, None], others], dim=2)


def test_people_go_round_the_arm_and_each_other():
    scenes = people(100, 3)
    to_arm = (scenes[:, :, 1:] - scenes[:, :, :1]).norm(dim=-1).amin(dim=1)
    assert to_arm.median() > 0.8
    near, far = (
        simulate_people(scenes[:, :, 0], 2, d, torch.Generator().manual_seed(1)).diff(dim=2).norm(dim=-1).amin(dim=1)
        for d in (0.1, 0.8)
    )
    assert far.median() > near.median() + 0.2


def test_training_the_graph_lowers_errors_and_adapting_keeps_z(tmp_path):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = GCRL(GRAPH_SMALL)
    scenes = people(64, 3)
    scenes[:32, :, 2] = torch.nan
    past, future = scenes[:, :8], scenes[:, 8:]
    before = min_ade_fde(model.predict(past, 5, generator), future)[0].mean()
    fit(model, [scenes], 30, generator)
    assert min_ade_fde(model.predict(past, 5, generator), future)[0].mean() < 0.8 * before
    kept = [p.clone() for part in model.z_side for p in part.parameters()]
    adapt(model, scenes, generator, epochs=1)
    assert all(torch.equal(a, p) for a, p in zip(kept, (p for m in model.z_side for p in m.parameters()), strict=True))
    assert all(p.isfinite().all() for p in model.parameters())
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    told = [m.predict(past, 5, torch.Generator().manual_seed(1)) for m in (model, again)]
    torch.testing.assert_close(*told, equal_nan=True)


def test_gradients_reach_all_of_the_graph():
    torch.manual_seed(0)
    scenes = people(4, 3)
    model = GCRL(GRAPH_SMALL)
    model.elbo(scenes[:, :8], scenes[:, 8:]).total.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


@pytest.mark.parametrize("coupled", [False, True])
def test_who_is_not_there_changes_nothing(coupled):
    torch.manual_seed(0)
    model = GCRL(dataclasses.replace(GRAPH_SMALL, coupled=coupled))
    scenes = people(3, 3)
    padded = torch.cat([scenes, torch.full((3, 20, 2, 2), torch.nan)], dim=2)
    for found, expected in zip(model.posteriors(padded[:, :8]), model.posteriors(scenes[:, :8]), strict=True):
        torch.testing.assert_close(found.mean[:, :3], expected.mean)
        torch.testing.assert_close(found.stddev[:, :3], expected.stddev)
    told = model.predict(padded[:, :8], 4, torch.Generator().manual_seed(0))
    assert told[..., 3:, :].isnan().all()
    assert told[..., :3, :].isfinite().all()
    found, expected = (min_ade_fde(told[..., : s.shape[2], :], s[:, 8:]) for s in (padded, scenes))
    torch.testing.assert_close(found, expected)
    model.elbo(padded[:, :8], padded[:, 8:]).total.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_the_graph_does_not_depend_on_order_or_place_of_agents_but_sees_the_others():
    torch.manual_seed(0)
    model = GCRL(GRAPH_SMALL)
    past = people(2, 3)[:, :8]
    order = [2, 0, 1]
    z, s = model.posteriors(past)
    for found, expected in zip(model.posteriors(past[:, :, order] + 7.0), (z, s), strict=True):
        torch.testing.assert_close(found.mean, expected.mean[:, order], atol=1e-4, rtol=1e-4)
    moved = past.clone()
    moved[:, :, 2] += torch.linspace(0, 1, 8)[:, None]
    for found, expected in zip(model.posteriors(moved), (z, s), strict=True):
        assert (found.mean[:, 0] - expected.mean[:, 0]).abs().max() > 1e-5
    with pytest.raises(ValueError, match="expected agents that are there"):
        model.posteriors(past * torch.nan)
    with pytest.raises(ValueError, match=r"expected \(B, 8, agents, 2\)"):
        model.posteriors(past[0])
    with pytest.raises(ValueError, match="network: expected one of pair, graph, found 'ring'"):
        GCRLConfig(network="ring")


def test_the_command_trains_on_files_of_any_number_of_agents_and_tunes(tmp_path, capsys):
    np.save(tmp_path / "one.npy", people(4, 3).numpy())
    np.save(tmp_path / "two.npy", people(4, 2, seed=1).numpy())
    files = [str(tmp_path / name) for name in ("one.npy", "two.npy")]
    main(["--output", str(tmp_path / "a"), "--tracks", *files, "--network", "graph", "--epochs", "1"])
    tuned = ["--output", str(tmp_path / "b"), "--model", str(tmp_path / "a"), "--epochs", "1"]
    main([*tuned, "--tracks", files[1], "--scenes", "3"])
    assert "tuned on 3 scenes" in capsys.readouterr().out
    assert load_model(tmp_path / "b").predict(people(1, 5)[:, :8], 2, torch.Generator()).shape == (2, 1, 12, 5, 2)
    with pytest.raises(SystemExit, match=r"expected \(B, 8, 2, 2\), found"):
        main(["--output", str(tmp_path / "c"), "--tracks", files[0], "--epochs", "1"])
    np.save(tmp_path / "short.npy", people(4, 2)[:, :9].numpy())
    with pytest.raises(SystemExit, match=r"short: expected 20 steps of 0\.4 s, found 9 steps of 0\.4 s"):
        main(["--output", str(tmp_path / "c"), "--tracks", str(tmp_path / "short.npy")])
