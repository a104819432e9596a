"""Gaussian diffusion: the noise schedule, and the training and sampling of a network that tells the noise.

`GaussianDiffusion` has linear variances from 1e-4 to 0.02 over 1,000 steps (Ho et al., Denoising Diffusion
Probabilistic Models, NeurIPS 2020). Steps t count from 0; before them, at -1, a picture is clean. Pictures are in
[-1, 1]. The network is any module of noisy pictures (B, C, H, W) and steps (B,), whose first C channels are the noise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

Predict = Callable[[Tensor, Tensor], Tensor]
"""Noise (B, C, H, W) in noisy pictures (B, C, H, W) of steps (B,)."""
STEPS_OF_BETA = 1000  # that the two variances are meant for
WEIGHT_POWER = 0.1


class GaussianDiffusion:
    """A noise schedule; x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise.

    Args:
        T: steps.
        beta: variances of the first and of the last of 1,000 steps; with another T they are scaled by 1000 / T.

    Attributes:
        abar: (T,) share of the clean picture's variance.
        shift_coef: (T,) c_t = -sqrt(alpha_t) (1 - abar_{t-1}) / sqrt(1 - abar_t), by which PDAE and DiTi correct noise.
        weight: (T,) SNR^0.1 / (1 + SNR) of their losses, with SNR = abar / (1 - abar).

    Raises:
        ValueError: variances that do not lie in (0, 1).
    """

    def __init__(self, T: int = 1000, beta: tuple[float, float] = (1e-4, 0.02)) -> None:  # noqa: N803 (as in the paper)
        betas = np.linspace(*beta, T) * STEPS_OF_BETA / T if T > 0 else np.zeros(0)
        if not len(betas) or not (betas.min() > 0 and betas.max() < 1):
            raise ValueError(f"T, beta: expected variances in (0, 1), found those of {T} and {beta}")
        abar = np.cumprod(1 - betas)
        before = np.concatenate([[1.0], abar[:-1]])
        ratio = abar / (1 - abar)
        self.T = T
        self.abar = torch.from_numpy(abar).float()
        self.shift_coef = torch.from_numpy(-np.sqrt(1 - betas) * (1 - before) / np.sqrt(1 - abar)).float()
        self.weight = torch.from_numpy(ratio**WEIGHT_POWER / (1 + ratio)).float()
        self._signal = torch.from_numpy(np.sqrt([*abar, 1.0])).float()  # the last is of step -1
        self._noise = torch.from_numpy(np.sqrt([*(1 - abar), 0.0])).float()

    def check(self, t: int) -> int:
        """The step itself.

        Raises:
            ValueError: there is no such step.
        """
        if not 0 <= t < self.T:
            raise ValueError(f"t: expected a step from 0 to {self.T - 1}, found {t}")
        return t

    def q_sample(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Noisy pictures x_t (B, C, H, W) of clean ones.

        Args:
            x: (B, C, H, W).
            t: steps (B,).
            noise: (B, C, H, W) of the standard normal distribution.
        """
        signal, spread = at(self._signal, t, x), at(self._noise, t, x)
        return signal * x + spread * noise

    def steps(self, count: int) -> list[int]:
        """At most `count` steps, evenly from 0 to T - 1.

        Raises:
            ValueError: fewer than two.
        """
        if count < 2:
            raise ValueError(f"steps: expected at least 2, found {count}")
        return [int(t) for t in np.unique(np.linspace(0, self.T - 1, count).round())]

    @torch.no_grad()
    def ddim_sample(self, predict: Predict, x: Tensor, steps: int = 100, clip: bool = True) -> Tensor:
        """Clean pictures of x_{T-1} (Song et al., Denoising Diffusion Implicit Models, equation 12, without noise).

        Args:
            predict: the network.
            x: (B, C, H, W).
            steps: that are visited.
            clip: whether what is told of the clean picture is kept in [-1, 1] on the way.
        """
        visited = self.steps(steps)
        for t, s in zip(visited[::-1], [*visited[-2::-1], -1], strict=True):
            noise = predict(x, x.new_full((len(x),), t, dtype=torch.long))
            clean = (x - self._noise[t] * noise) / self._signal[t]
            if clip:
                clean = clean.clamp(-1, 1)
                noise = (x - self._signal[t] * clean) / self._noise[t]
            x = self._signal[s] * clean + self._noise[s] * noise
        return x

    @torch.no_grad()
    def ddim_invert(self, predict: Predict, x: Tensor, steps: int = 100, corrections: int = 1) -> Tensor:
        """x_{T-1} of which `ddim_sample` without clipping makes these clean pictures.

        Each step of sampling is solved for where it came from: the noise is first taken from where it went to, and then
        a few times from what that gives. Without corrections this is the inversion that is commonly used.

        Args:
            predict: the network.
            x: (B, C, H, W) in [-1, 1].
            steps: that are visited.
            corrections: evaluations of the network for each step beyond the first.
        """
        s = -1
        for t in self.steps(steps):
            guess, steps_of = x, x.new_full((len(x),), t, dtype=torch.long)
            for _ in range(1 + corrections):
                noise = predict(guess, steps_of)
                guess = self._signal[t] / self._signal[s] * (x - self._noise[s] * noise) + self._noise[t] * noise
            x, s = guess, t
        return x


LINEAR = GaussianDiffusion()
"""The schedule of all networks here."""


def at(values: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """Numbers (B, 1, 1, 1) of steps (B,), where and as precise as pictures (B, C, H, W)."""
    return values.to(like.device, like.dtype)[t].view(-1, 1, 1, 1)


def noisy_batch(images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Pictures (B, C, H, W) in [0, 1] as `images` in [-1, 1], steps `t` (B,) drawn evenly, and `noise` like them."""
    t = torch.randint(LINEAR.T, (len(images),), generator=generator)
    noise = torch.randn(images.shape, generator=generator)
    # With channels last, as frames come, torch's backward pass of small group norms crashes.
    return {"images": (2 * images.clamp(0, 1) - 1).contiguous(), "t": t, "noise": noise}


def denoising_loss(network: nn.Module, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """Mean squared error of the noise that a network tells; arguments as of `GaussianDiffusion.q_sample`."""
    return F.mse_loss(network(LINEAR.q_sample(x, t, noise), t)[:, : x.shape[1]], noise)


def train_denoiser(
    network: nn.Module,
    x: Tensor,
    steps: int,
    seed: int,
    batch: int = 32,
    lr: float = 1e-3,
    progress: bool = False,
) -> float:
    """AdamW on the noise of random pictures at random steps; the network is then in evaluation mode.

    Args:
        network: see the module.
        x: pictures (N, C, H, W) in [-1, 1].
        steps: of the optimizer.
        seed: of pictures, steps and noise.
        batch: pictures of a step.
        lr: step size.
        progress: whether to show it.

    Returns:
        Mean loss of the last tenth of the steps.

    Raises:
        ValueError: pictures that are not finite numbers in [-1, 1].
    """
    if not (x.abs() <= 1).all():
        raise ValueError("x: expected finite numbers in [-1, 1], found others")
    generator, optimizer = torch.Generator().manual_seed(seed), torch.optim.AdamW(network.parameters(), lr)
    network.train()
    losses = []
    for _ in tqdm(range(steps), desc="steps", unit="step", disable=not progress):
        shown = x[torch.randint(len(x), (batch,), generator=generator)]
        t = torch.randint(LINEAR.T, (batch,), generator=generator)
        loss = denoising_loss(network, shown, t, torch.randn(shown.shape, generator=generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    optimizer.zero_grad()
    network.eval()
    return float(np.mean(losses[-max(1, steps // 10) :]))
