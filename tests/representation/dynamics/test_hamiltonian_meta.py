from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.func import grad

from representation.benchmarks import hamiltonian_meta as benchmark
from representation.dynamics.hamiltonian_meta import HamiltonianConfig, HamiltonianNet
from representation.dynamics.hamiltonian_meta.adaptation import MetaConfig, adapt, field_loss, meta_loss, train
from representation.dynamics.hamiltonian_meta.energy_alarm import (
    TIME_UNIT_S,
    AlarmConfig,
    EnergyAlarm,
    JointWindow,
    drift,
    sigmas,
    swing_s,
)
from representation.dynamics.hamiltonian_meta.rollout import energy_error, rk4, state_error, yoshida4
from representation.dynamics.hamiltonian_meta.systems import SYSTEMS, Trajectories
from representation.registry import load_model

KINDS = [HamiltonianConfig("mlp", bodies=2, hidden=16), HamiltonianConfig("gnn", hidden=16)]


def net_of(config: HamiltonianConfig) -> HamiltonianNet:
    torch.manual_seed(0)
    return HamiltonianNet(config).double()


def states_of(count: int, bodies: int = 2) -> torch.Tensor:
    return torch.randn(count, bodies, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.kind)
def test_the_field_of_any_weights_has_no_divergence_and_keeps_the_energy(config):
    net, states = net_of(config), states_of(5)
    weights = net.parameters_by_name
    field = net.field(weights, states)
    slope = grad(lambda x: net.energy(weights, x).sum())(states)
    assert (slope * field).sum(dim=(1, 2)).abs().max() < 1e-10
    jacobian = torch.autograd.functional.jacobian(lambda x: net.field(weights, x[None])[0].ravel(), states[0])
    assert torch.einsum("iab,ab->", jacobian.reshape(8, 2, 4), torch.zeros(2, 4, dtype=torch.float64)) == 0
    assert jacobian.reshape(8, 8).trace().abs() < 1e-10
    assert jacobian.abs().max() > 1e-3


def test_messages_do_not_mind_the_order_of_bodies_nor_how_many_there_are():
    net, states = net_of(KINDS[1]), states_of(4, 3)
    weights, order = net.parameters_by_name, [2, 0, 1]
    torch.testing.assert_close(net(states[:, order]), net(states))
    torch.testing.assert_close(net.field(weights, states[:, order]), net.field(weights, states)[:, order])
    alone = net(states[:, :1]) + net(states[:, 1:2])
    assert not torch.allclose(alone, net(states[:, :2]))


def test_the_meta_gradient_is_that_of_differences_and_not_of_first_order():
    net = net_of(HamiltonianConfig(hidden=8))
    config = MetaConfig(inner_lr=0.1, inner_steps=2)
    parts = []
    for seed in range(2):
        drawn = torch.Generator().manual_seed(seed)
        parts.append(Trajectories(*(torch.randn(3, 10, 1, 4, generator=drawn, dtype=torch.float64) for _ in range(2))))
    weights = net.parameters_by_name
    slopes = grad(lambda p: meta_loss(net, p, *parts, config))(weights)
    name, step = "read.2.weight", 1e-6
    direction = torch.randn_like(weights[name])
    ahead, back = ({**weights, name: weights[name] + sign * step * direction} for sign in (1, -1))
    difference = (meta_loss(net, ahead, *parts, config) - meta_loss(net, back, *parts, config)) / (2 * step)
    assert (slopes[name] * direction).sum() == pytest.approx(difference.item(), rel=1e-3)
    first = grad(lambda p: meta_loss(net, p, *parts, MetaConfig(inner_lr=0.1, inner_steps=2, first_order=True)))
    assert (first(weights)[name] - slopes[name]).abs().max() > 1e-3 * slopes[name].abs().max()


@pytest.mark.parametrize("name", SYSTEMS)
def test_trajectories_keep_their_energy_and_follow_the_slopes_of_it(name):
    system = SYSTEMS[name]
    states, constants = system.starts(3, torch.Generator().manual_seed(0))
    if system.bound is not None:
        assert (system.hamiltonian(states, constants) < system.bound(constants)).all()
    found = system.trajectories(states, constants, duration=10.0, points=2001)
    energies = torch.stack([system.hamiltonian(x, constants) for x in found.states.unbind(1)])
    assert ((energies - energies[0]).abs() / energies[0].abs().clamp(min=0.1)).max() < 1e-6
    over_q, over_p = differences(lambda x: system.hamiltonian(x, constants), states).chunk(2, dim=-1)
    torch.testing.assert_close(found.rates[:, 0], torch.cat([over_p, -over_q], dim=-1), atol=1e-9, rtol=0)
    path = found.states
    swept = (8 * (path[:, 3:-1] - path[:, 1:-3]) - (path[:, 4:] - path[:, :-4])) / (12 * 0.005)
    assert (swept - found.rates[:, 2:-2]).abs().max() < 1e-7 * found.rates.abs().max()


def differences(energy, states: torch.Tensor, step: float = 1e-5) -> torch.Tensor:
    """Slopes of energies (B,) over states (B, bodies, 4), by central differences."""
    found = torch.zeros_like(states)
    for place in np.ndindex(states.shape[1:]):
        moved = torch.zeros_like(states)
        moved[:, *place] = step
        found[:, *place] = (energy(states + moved) - energy(states - moved)) / (2 * step)
    return found


def test_the_integrator_is_of_fourth_order_and_does_not_drift():
    spring, one = SYSTEMS["mass-spring"], torch.ones(1, dtype=torch.float64)
    pendulum, start = SYSTEMS["pendulum"], torch.tensor([[[1.0, 0.0, 0.0, 0.0]]], dtype=torch.float64)
    errors = []
    for dt in (0.2, 0.1):
        path = yoshida4(lambda x: pendulum.field(x, one), start, dt, round(2 / dt))
        energies = torch.stack([pendulum.hamiltonian(x, one) for x in path])
        errors.append((energies - energies[0]).abs().max().item())
    assert errors[0] / errors[1] == pytest.approx(16, abs=3)
    path = yoshida4(lambda x: torch.cat([x[..., 2:], -x[..., :2]], dim=-1), start, 0.05, 10_000)
    energies = torch.stack([spring.hamiltonian(x, one) for x in path[::100]])
    assert (energies[-20:].mean() - energies[:20].mean()).abs() < 1e-6


def test_errors_of_what_is_foretold_are_shares():
    spring, one = SYSTEMS["mass-spring"], torch.ones(2, dtype=torch.float64)
    true = torch.tensor([[1.0, 0, 0, 0], [0, 0, 2.0, 0]], dtype=torch.float64)[None, :, None].repeat(4, 1, 1, 1)
    told = true * torch.tensor([1.0, 2.0, 2.0, 3.0], dtype=torch.float64)[:, None, None, None]
    assert torch.allclose(state_error(told, true), torch.full((2,), (0 + 1 / 3 + 1 / 3 + 1 / 2) / 4).double())
    assert torch.allclose(energy_error(lambda x: spring.hamiltonian(x, one), told), torch.full((2,), 14 / 4).double())


def test_an_adapted_network_is_followed_and_compared_with_what_it_was(monkeypatch):
    monkeypatch.setattr(benchmark, "FOLLOWED", 5)
    generator = torch.Generator().manual_seed(0)
    starts, constants = SYSTEMS["double well"].starts(2, generator)
    tests = SYSTEMS["double well"].trajectories(starts, constants)
    tests = Trajectories(tests.states.float(), tests.rates.float())
    torch.manual_seed(0)
    net = HamiltonianNet(HamiltonianConfig(hidden=8))
    found = benchmark.followed(net, tests, constants, generator)
    assert set(found) == set(benchmark.ROLLOUTS)
    assert -1 < found["state"] < 0
    assert found["energy"] < 0
    assert 0 < found["first"] < 1
    weights = net.parameters_by_name
    last = dict(net.named_parameters())["read.4.weight"], net.read[4].bias
    states = tests.states[0]
    expected = benchmark.hidden(net, weights, states)[1] @ last[0][0].detach().double().numpy()
    np.testing.assert_allclose(expected + last[1].item(), net(states).detach(), atol=1e-5)


def test_for_a_learned_field_rk4_is_of_fourth_order_and_yoshida4_of_first():
    net, start = net_of(HamiltonianConfig(hidden=16)), states_of(3, 1)
    weights = {name: 2 * value for name, value in net.parameters_by_name.items()}  # far from quadratic

    def field(states):
        return net.field(weights, states)

    exact = rk4(field, start, 0.0125, 80)[-1]
    errors = {
        method: [(method(field, start, dt, round(1 / dt))[-1] - exact).abs().max().item() for dt in (0.2, 0.1)]
        for method in (rk4, yoshida4)
    }
    assert errors[rk4][0] / errors[rk4][1] == pytest.approx(16, abs=2)
    assert errors[yoshida4][0] / errors[yoshida4][1] == pytest.approx(2, abs=0.2)


def test_training_lowers_what_is_left_after_the_inner_steps_and_adapting_lowers_the_loss():
    generator = torch.Generator().manual_seed(0)
    tasks = [SYSTEMS[name].drawn(4, generator) for name in ("mass-spring", "2 bodies")]
    torch.manual_seed(0)
    net = HamiltonianNet(HamiltonianConfig("gnn", hidden=16, layers=1))
    before = copy.deepcopy(net.state_dict())
    losses = train(net, tasks, MetaConfig(iterations=12, outer_lr=5e-3, tasks=3, support=10, query=10), generator)
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert not torch.equal(before["read.0.weight"], net.state_dict()["read.0.weight"])
    one = tasks[0].states[0], tasks[0].rates[0]
    weights = net.parameters_by_name
    assert field_loss(net, adapt(net, weights, *one, 20), *one) < 0.9 * field_loss(net, weights, *one)


def swing(count: int, rate: float = 6.0, hit: float = 0.0, at: int = 0, phase: float = 0.0) -> JointWindow:
    """A linear swing that is hit once, in its own direction, by a share of its largest momentum; 100 Hz."""
    turn = rate * 0.01 * np.arange(count) + phase
    q, v = 0.4 * np.cos(turn), -0.4 * rate * np.sin(turn)
    pushed, since = v[at] + np.sign(v[at]) * hit * 0.4 * rate, rate * 0.01 * np.arange(count - at)
    q[at:], v[at:] = (
        q[at] * np.cos(since) + pushed / rate * np.sin(since),
        pushed * np.cos(since) - rate * q[at] * np.sin(since),
    )
    return JointWindow(0.01, q[:, None], v[:, None])


def noisy(window: JointWindow, rng: np.random.Generator) -> JointWindow:
    """With the noise of `sim.held_tools`."""
    shape = window.positions.shape
    return JointWindow(
        0.01, window.positions + rng.normal(0, 1e-3, shape), window.velocities + rng.normal(0, 5e-3, shape)
    )


def test_knocks_of_a_twentieth_are_heard_by_the_energy_and_quiet_is_not():
    rng, heard = np.random.default_rng(0), {0.0: 0, 0.05: 0}
    for hit in heard:
        for _ in range(100):
            rate, at = rng.uniform(5, 8), int(rng.integers(330, 500))
            window = noisy(swing(700, rate, hit, at, rng.uniform(0, 7)), rng)
            energies = 0.5 * (window.velocities**2 + (rate * window.positions) ** 2)[:, 0]
            above = sigmas(energies, 300, round(2 * np.pi / rate / 0.01)) > 5
            assert not above[300:at].any()
            heard[hit] += above[at:].any()
    assert heard[0.05] >= 95
    assert heard[0.0] <= 2


def test_the_alarm_learns_the_energy_and_hears_a_knock_by_it():
    torch.manual_seed(0)
    net, rng = HamiltonianNet(HamiltonianConfig(coordinates=1, hidden=32)), np.random.default_rng(0)
    for hit in (0.0, 0.3):
        window = noisy(swing(600, hit=hit, at=400), rng)
        sound = EnergyAlarm(net, window.part(slice(300)), AlarmConfig(steps=100, lr=1e-2)).sounds(window)
        assert sound is None if hit == 0 else 4.0 <= sound < 5.0


def test_windows_in_time_units_have_rates_that_are_their_derivatives():
    window = swing(100)
    assert swing_s(swing(300)) == pytest.approx(2 * np.pi / 6, rel=0.03)
    states, rates = window.states()[:, 0].numpy(), window.rates()[:, 0].numpy()
    np.testing.assert_allclose(states[:, 1], window.velocities[:, 0] * TIME_UNIT_S, rtol=1e-5)
    np.testing.assert_allclose(rates[5:-5, 1], -((6 * TIME_UNIT_S) ** 2) * states[5:-5, 0], atol=2e-3)
    np.testing.assert_allclose(rates[:, 0], states[:, 1])


def test_drift_is_the_step_between_neighbouring_means():
    found = drift(np.r_[np.zeros(10), np.ones(10)], 4)
    assert np.isnan(found[:7]).all()
    assert found[9] == 0
    assert found[13] == 1
    assert found[19] == 0


def test_it_comes_back_equal_and_wrong_input_is_named(tmp_path):
    net = HamiltonianNet(HamiltonianConfig("gnn", coordinates=1, hidden=8))
    net.save(tmp_path / "net")
    states = torch.randn(3, 2, 2)
    assert torch.equal(load_model(tmp_path / "net")(states), net(states))
    with pytest.raises(ValueError, match="kind: expected one of mlp, gnn, found 'cnn'"):
        HamiltonianConfig("cnn")
    with pytest.raises(ValueError, match="window: expected at least 9 rows"):
        JointWindow(0.01, np.zeros((3, 1)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="net: expected 1 coordinates, found 2"):
        EnergyAlarm(HamiltonianNet(HamiltonianConfig()), swing(300), AlarmConfig())
