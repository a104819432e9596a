"""`DPMSolverPP`: the sampler of diffusion models as a recurrence with known coefficients.

DPM-Solver++ (2M, midpoint form, data prediction; arXiv 2211.01095) on the squared-cosine schedule: with D_k the clean
chunk predicted at step k,

    x_{k+1} = A_k x_k + B_k D_k + C_k (D_k - D_{k-1}).

Nothing is kept between calls, so one object serves any number of threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from policies.rdt.config import Prediction


@lru_cache
def alphas_cumprod(steps: int = 1000) -> NDArray[np.float64]:
    """Signal power (steps,) that is left after each step of the forward process: squared-cosine schedule, capped.

    Nichol and Dhariwal, arXiv 2102.09672, equation 17, with a rate of at most 0.999 a step. The rates are rounded to
    float32, as the published model's were.
    """

    def signal(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - signal((k + 1) / steps) / signal(k / steps), 0.999) for k in range(steps)]
    kept = 1 - np.array(betas, dtype=np.float32)
    return np.cumprod(kept, dtype=np.float64)


@dataclass(frozen=True)
class Level:
    """Signal and noise of one step: x = alpha * clean + sigma * noise."""

    alpha: float
    sigma: float


class DPMSolverPP:
    """Samples in n steps.

    Args:
        n: steps, at least 1.
        prediction: what the network gives.
        train_steps: steps of the forward process.

    Attributes:
        timesteps: (n,) diffusion steps at which the network is asked, falling.
        levels: signal and noise at each of them.
        coefficients: (n, 3) A, B and C of each step.
    """

    def __init__(self, n: int, prediction: Prediction = "sample", train_steps: int = 1000) -> None:
        if not 1 <= n < train_steps:
            raise ValueError(f"steps: expected 1 to {train_steps - 1}, found {n}")
        self.prediction = prediction
        self.timesteps: NDArray[np.int64] = np.rint(np.linspace(0, train_steps - 1, n + 1))[::-1][:-1].astype(np.int64)
        power = alphas_cumprod(train_steps)[self.timesteps]
        alpha, sigma = np.append(np.sqrt(power), 1.0), np.append(np.sqrt(1 - power), 0.0)
        self.levels = [Level(float(a), float(s)) for a, s in zip(alpha[:-1], sigma[:-1], strict=True)]
        with np.errstate(divide="ignore"):
            lam = np.log(alpha) - np.log(sigma)  # half the log of the signal-to-noise ratio; infinite at the end
        h = np.diff(lam)
        a = sigma[1:] / sigma[:-1]
        b = -alpha[1:] * np.expm1(-h)
        c = np.zeros(n)
        c[1:-1] = b[1:-1] / 2 * h[1:-1] / h[:-2]
        self.coefficients: NDArray[np.float64] = np.stack([a, b, c], axis=1)

    def clean(self, k: int, x: Tensor, predicted: Tensor) -> Tensor:
        """Clean chunk that the network's answer at step k means, in float32."""
        if self.prediction == "sample":
            return predicted.float()
        level = self.levels[k]
        return (x.float() - level.sigma * predicted.float()) / level.alpha

    def step(self, k: int, x: Tensor, clean: Tensor, clean_before: Tensor | None) -> Tensor:
        """Go from x at step k to the next.

        Args:
            k: number of the step, from 0.
            x: (B, T, d).
            clean: D_k, likewise.
            clean_before: D_{k-1}; None at k = 0.

        Returns:
            (B, T, d) float32.
        """
        a, b, c = self.coefficients[k]
        after = a * x.float() + b * clean
        return after if clean_before is None or c == 0 else after + c * (clean - clean_before)


def add_noise(clean: Tensor, noise: Tensor, timesteps: Tensor, power: Tensor) -> Tensor:
    """Forward process: clean chunks (B, T, d) with noise of their steps (B,); `power` is `alphas_cumprod`."""
    level = power.to(clean)[timesteps][:, None, None]
    return level.sqrt() * clean + (1 - level).sqrt() * noise
