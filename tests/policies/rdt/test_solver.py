from __future__ import annotations

import numpy as np
import pytest
import torch

from policies.rdt.solver import DPMSolverPP, add_noise, alphas_cumprod

PUBLISHED = [
    (0.95181636, 0.30662166, 0),
    (0.85300634, 0.32219880, 0.01472046),
    (0.73283038, 0.37591555, 0.14764113),
    (0.53739713, 0.51557923, 0.32116116),
    (0, 1, 0),
]


def test_the_schedule_is_the_published_one():
    found = np.sqrt(alphas_cumprod()[[0, 200, 400, 599, 799, 999]])
    expected = [0.99997935, 0.94750357, 0.80373382, 0.58378899, 0.30666857, 4.92822e-5]
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_five_steps_have_the_published_coefficients():
    np.testing.assert_allclose(DPMSolverPP(5).coefficients, PUBLISHED, atol=1e-6)


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (1, [999]),
        (5, [999, 799, 599, 400, 200]),
        (10, [999, 899, 799, 699, 599, 500, 400, 300, 200, 100]),
    ],
)
def test_timesteps_are_evenly_spread(n, expected):
    assert DPMSolverPP(n).timesteps.tolist() == expected


def test_twenty_timesteps_are_the_rounded_ones():
    expected = [round(999 * k / 20) for k in range(20, 0, -1)]
    assert DPMSolverPP(20).timesteps.tolist() == expected


@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_the_result_is_the_last_prediction(n):
    solver = DPMSolverPP(n)
    generator = torch.Generator().manual_seed(n)
    x, before, clean = torch.randn(2, 4, 8, generator=generator), None, None
    for k in range(n):
        clean = torch.randn(2, 4, 8, generator=generator)
        x, before = solver.step(k, x, clean, before), clean
    torch.testing.assert_close(x, clean, atol=1e-6, rtol=0)


def test_the_true_chunk_predicted_at_every_step_stays_on_its_noisy_path():
    solver = DPMSolverPP(5)
    truth, noise = torch.randn(2, 1, 4, 8, generator=torch.Generator().manual_seed(0))
    x, before = solver.levels[0].alpha * truth + solver.levels[0].sigma * noise, None
    for k, level in enumerate(solver.levels):
        torch.testing.assert_close(x, level.alpha * truth + level.sigma * noise, atol=1e-5, rtol=0)
        x, before = solver.step(k, x, truth, before), truth


def test_a_predicted_noise_means_the_chunk_without_it():
    solver = DPMSolverPP(5, "epsilon")
    truth, noise = torch.randn(2, 1, 4, 8, generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([int(solver.timesteps[2])])
    x = add_noise(truth, noise, timesteps, torch.from_numpy(alphas_cumprod()))
    torch.testing.assert_close(solver.clean(2, x, noise), truth, atol=1e-5, rtol=0)


@pytest.mark.parametrize("n", [0, 1000])
def test_a_number_of_steps_that_cannot_be_is_refused(n):
    with pytest.raises(ValueError, match="steps: expected"):
        DPMSolverPP(n)
