from __future__ import annotations

import numpy as np
import torch

from representation.benchmarks import ponita
from representation.benchmarks.charged_particles import simulate_charged
from representation.benchmarks.ponita import DigitCloud, GraphNetwork, PonitaMotion


def test_charged_particles_keep_their_momentum():
    motion = simulate_charged(20, seed=0)
    assert motion["target"].shape == (20, 5, 3)
    # Forces come in pairs, and those that are cut off are too: the middle goes on as it went.
    middle = motion["pos"].mean(axis=1) + motion["vel"].mean(axis=1)
    np.testing.assert_allclose(motion["target"].mean(axis=1), middle, atol=2e-3)
    again = simulate_charged(20, seed=0)
    np.testing.assert_array_equal(motion["pos"], again["pos"])
    off = np.square(motion["pos"] + motion["vel"] - motion["target"]).mean()
    assert 0.01 < off < 1.0


def test_networks_of_motions_and_digits_take_batches_apart():
    torch.manual_seed(0)
    pos, vel, charge = torch.randn(3, 5, 3), torch.randn(3, 5, 3), torch.ones(3, 5, 1)
    for network in (PonitaMotion(8).eval(), GraphNetwork(8)):
        together = network(pos, vel, charge)
        torch.testing.assert_close(network(pos[1:2], vel[1:2], charge[1:2])[0], together[1], atol=1e-5, rtol=1e-5)
    digits, network = torch.rand(3, 8, 8), DigitCloud(4, 8).eval()
    logits = network(digits)  # sums over 64 points
    torch.testing.assert_close(network(digits[2:])[0], logits[2], atol=64e-5, rtol=1e-5)
    torch.testing.assert_close(network(digits.rot90(1, (1, 2))), logits, atol=64e-5, rtol=1e-5)


def test_clouds_are_timed_by_size_and_by_point(monkeypatch):
    assert max(ponita.POINTS) == 16_384
    monkeypatch.setattr(ponita, "POINTS", (16, 32, 64, 128))
    monkeypatch.setattr(ponita, "least_seconds", lambda function: 1e-6 * len(function()[0]))
    page = ponita.growth().table("it.png")
    assert "| 12 orientations, µs a point | distances alone, µs a point |" in page
    assert "| 128 | 0.128 | 0.128 | 1 | 1 |" in page
