from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch

from policies.rdt.config import RDTConfig
from policies.rdt.prefix import Prefix
from policies.rdt.sampling import draw_noise, sample
from policies.rdt.solver import DPMSolverPP, alphas_cumprod
from tests.policies.rdt.conftest import conditions_of, random_inputs, random_model


def run(model, inputs, prefix=None, steps=5, noise=None):
    return sample(
        model,
        conditions_of(model, inputs),
        inputs["state"],
        inputs["mask"],
        inputs["frequency"],
        inputs["noise"] if noise is None else noise,
        DPMSolverPP(steps, model.config.prediction_type),
        prefix,
    )


@pytest.mark.parametrize("seed", range(3))
def test_slots_that_the_robot_lacks_are_exactly_zero(seed):
    model = random_model(seed)
    inputs = random_inputs(model.config, seed=seed)
    chunks = run(model, inputs)
    assert (chunks[..., inputs["mask"] == 0] == 0).all()
    assert chunks[..., inputs["mask"] == 1].abs().min() > 0


def test_one_step_is_the_prediction_from_noise(model):
    inputs = random_inputs(model.config)
    batch = len(inputs["noise"])
    with torch.no_grad():
        predicted = model(
            inputs["state"][:, None],
            inputs["noise"],
            inputs["mask"].expand(batch, 1, -1),
            torch.full((batch,), 999),
            inputs["frequency"],
            conditions_of(model, inputs),
        )
    torch.testing.assert_close(run(model, inputs, steps=1), predicted * inputs["mask"], atol=1e-6, rtol=0)


def test_noise_decides_and_comes_from_the_generator(model):
    inputs = random_inputs(model.config)
    first, second = (draw_noise(model, 2, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert (draw_noise(model, 2, torch.Generator().manual_seed(1)) == first).all()
    assert (run(model, inputs, noise=first) == run(model, inputs, noise=first)).all()
    assert (run(model, inputs, noise=first) - run(model, inputs, noise=second)).abs().max() > 1e-3


def test_two_inferences_at_once_give_what_each_gives_alone(model):
    inputs = random_inputs(model.config)
    noises = [draw_noise(model, 2, torch.Generator().manual_seed(seed)) for seed in range(2)]
    serial = [run(model, inputs, noise=noise) for noise in noises]
    found = [None, None]
    start = threading.Barrier(2)

    def work(i):
        start.wait()
        for _ in range(5):
            found[i] = run(model, inputs, noise=noises[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for expected, together in zip(serial, found, strict=True):
        torch.testing.assert_close(together, expected, atol=0, rtol=0)


@pytest.mark.parametrize("prediction", ["sample", "epsilon"])
@pytest.mark.parametrize("mode", ["guided", "blend", "replace"])
def test_committed_rows_are_the_prefix(mode, prediction):
    model = random_model(config=replace(RDTConfig.tiny(), prediction_type=prediction))
    inputs = random_inputs(model.config)
    rows = 0.1 * torch.randn(8, 128, generator=torch.Generator().manual_seed(5)) * inputs["mask"]
    chunks = run(model, inputs, Prefix(rows, 3, 6, mode=mode))
    torch.testing.assert_close(chunks[:, :3], rows[:3].expand(2, -1, -1), atol=1e-6, rtol=0)


class SmoothMotions:
    """Stands for a network: the exact denoiser of smooth random motions (a Gaussian process over the rows)."""

    def __init__(self, rows, length, size=1.0):
        self.config = replace(RDTConfig.tiny(), pred_horizon=rows, action_dim=1)
        distances = torch.arange(rows)[:, None] - torch.arange(rows)
        self.covariance = size**2 * (torch.exp(-0.5 * (distances / length) ** 2).double() + 1e-6 * torch.eye(rows))
        self.power = torch.from_numpy(alphas_cumprod())

    def draw(self, count, generator):
        white = torch.randn(count, self.config.pred_horizon, 1, generator=generator, dtype=torch.float64)
        return (torch.linalg.cholesky(self.covariance) @ white).float()

    def __call__(self, state, noisy, masks, steps, frequency, conditions, clean=None):
        power = self.power[steps[0]]
        noisy_covariance = power * self.covariance + (1 - power) * torch.eye(len(self.covariance))
        return (power.sqrt() * self.covariance @ torch.linalg.solve(noisy_covariance, noisy.double())).float()


@pytest.mark.parametrize(("jacobian", "size"), [("exact", 1.0), ("identity", 1.0), ("exact", 0.2)])
def test_guidance_joins_smooth_motions_where_replacement_alone_jumps(jacobian, size):
    rows, executed, delay = 64, 25, 6
    model = SmoothMotions(rows, length=12, size=size)
    generator = torch.Generator().manual_seed(0)
    running = model.draw(100, generator)
    noise = torch.randn(100, rows, 1, generator=generator)
    one = torch.ones(1)

    def mean_jump(prefix_of):
        jumps = []
        for i in range(100):
            left = running[i, executed:]
            shifted = torch.cat([left, left[-1:].expand(executed, 1)])
            prefix = None if prefix_of is None else prefix_of(shifted)
            chunk = sample(model, None, torch.zeros(1, 1), one, one, noise[i : i + 1], DPMSolverPP(5), prefix)
            jumps.append((chunk[0, delay] - shifted[delay - 1]).abs().item())
        return sum(jumps) / len(jumps)

    overlap = rows - executed
    free = mean_jump(None)
    replaced = mean_jump(lambda rows: Prefix(rows, delay, delay, mode="replace"))
    guided = mean_jump(lambda rows: Prefix(rows, delay, overlap, jacobian=jacobian))
    step = running.diff(dim=1).abs().mean()
    assert guided < 0.2 * free
    assert guided < 0.5 * replaced
    assert guided < 2 * step


def test_slots_that_do_not_count_are_left_free(model):
    inputs = random_inputs(model.config)
    rows = torch.ones(8, 128) * inputs["mask"]
    slots = torch.ones(128)
    slots[10] = 0
    chunks = run(model, inputs, Prefix(rows, 3, 3, mode="replace", slots=slots))
    assert (chunks[:, :3, :3] == 1).all()
    assert (chunks[:, :3, 10] != 1).all()


def test_clean_rows_stay_as_they_are_and_need_a_network_trained_so(model):
    inputs = random_inputs(model.config)
    rows = torch.ones(8, 128) * inputs["mask"]
    prefix = Prefix(rows, 3, 3, mode="clean")
    with pytest.raises(ValueError, match="clean_prefix"):
        run(model, inputs, prefix)
    trained = random_model(config=replace(RDTConfig.tiny(), clean_prefix=True))
    chunks = run(trained, inputs, prefix)
    assert (chunks[:, :3, inputs["mask"] == 1] == 1).all()


def test_a_prefix_of_another_shape_is_refused(model):
    with pytest.raises(ValueError, match="prefix: expected actions"):
        run(model, random_inputs(model.config), Prefix(torch.zeros(7, 128), 1, 2))
