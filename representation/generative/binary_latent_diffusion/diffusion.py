"""`BernoulliDiffusion`: learns a distribution of grids of bits, samples it in few steps, completes and scores grids."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.generative.binary_latent_diffusion.schedule import BernoulliSchedule, Reverse
from representation.interface import Loss

Predict = Literal["flip", "x0"]
TimeWeight = Literal["mean", "weighted"]
DROPPED_LABELS = 0.1  # share of the batches
LEAST_SHARE = 0.02  # of ones, or of zeros, that class-balanced weights count with


class BernoulliDiffusion(nn.Module):
    """A denoiser of bits under a schedule.

    Args:
        denoiser: bits (B, L, c), steps (B,) and classes or None to logits (B, L, c).
        schedule: how bits are lost.
        predict: `flip` tells which bits differ from the first ones, `x0` the first ones.
        reverse: by which an earlier step is sampled, see `BernoulliSchedule.posterior`.
        aux: weight of the cross-entropy of that earlier step, beside that of the first bits.
        balance: whether ones and zeros of the target weigh alike in each sample. Probabilities are then no longer
            calibrated; leave it out where `elbo` is wanted.
        focal: exponent of what is still wrong, by which bits that are told well count less.
        time_weight: `weighted` counts step t by 1 - (t - 1) / T.

    Raises:
        ValueError: no such kind, negative numbers.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        schedule: BernoulliSchedule,
        predict: Predict = "flip",
        reverse: Reverse = "plugin",
        aux: float = 0.1,
        balance: bool = True,
        focal: float = 0.0,
        time_weight: TimeWeight = "mean",
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("predict", predict, get_args(Predict)),
            ("reverse", reverse, get_args(Reverse)),
            ("time_weight", time_weight, get_args(TimeWeight)),
        ):
            if value not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, found {value!r}")
        if min(aux, focal) < 0:
            raise ValueError(f"aux, focal: expected at least 0, found {aux} and {focal}")
        self.denoiser, self.schedule = denoiser, schedule
        self.predict, self.reverse, self.time_weight = predict, reverse, time_weight
        self.aux, self.balance, self.focal = aux, balance, focal

    def loss(self, z0: Tensor, y: Tensor | None = None, generator: torch.Generator | None = None) -> Loss:
        """The loss at random steps.

        Args:
            z0: (B, L, c), bits.
            y: (B,), classes; left out for a tenth of the batches.
            generator: of all that is random; on the CPU.
        """
        t = torch.randint(1, self.schedule.T + 1, (len(z0),), generator=generator)
        uniform = torch.rand(z0.shape, generator=generator)
        if y is not None and float(torch.rand((), generator=generator)) < DROPPED_LABELS:
            y = None
        return self.loss_at(z0, t.to(z0.device), uniform.to(z0.device), y)

    def loss_at(self, z0: Tensor, t: Tensor, uniform: Tensor, y: Tensor | None = None) -> Loss:
        """The loss at given steps.

        Args:
            z0: (B, L, c), bits.
            t: (B,), steps from 1 to T.
            uniform: (B, L, c) in [0, 1), by which the noisy bits are drawn.
            y: (B,), classes; None does without.
        """
        z0 = _bits(z0).float()
        z_t = (uniform < self.schedule.marginal(z0, t)).float()
        logits = self.denoiser(z_t, t, y).float()
        target = (z0 != z_t).float() if self.predict == "flip" else z0
        each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        if self.balance:
            share = target.mean(dim=(1, 2), keepdim=True).clamp(LEAST_SHARE, 1 - LEAST_SHARE)
            each = each * torch.where(target == 1, 1 - share, share)
        if self.focal:
            each = each * (target - logits.sigmoid()).abs() ** self.focal
        weight = 1 - (t - 1) / self.schedule.T if self.time_weight == "weighted" else torch.ones_like(t)
        main = (weight * each.mean(dim=(1, 2))).mean()
        wrong = ((logits > 0) != (target == 1)).float().mean()
        parts = {"bits": main, "wrong": wrong}
        if not self.aux:
            return Loss(main, parts)
        believed = self._earlier(self._first(logits, z_t), z_t, t)
        likely = self._earlier(z0, z_t, t)
        parts["aux"] = _cross_entropy(likely, believed).mean()
        return Loss(main + self.aux * parts["aux"], parts)

    def predicted(
        self, z_t: Tensor, t: int, y: Tensor | None = None, temperature: float = 1.0, guidance: float = 0.0
    ) -> Tensor:
        """Probability (B, L, c) that the first bits were 1, given bits after t steps."""
        times = torch.full((len(z_t),), t, device=z_t.device)
        logits = self.denoiser(z_t, times, y)
        if guidance and y is not None:
            logits = (1 + guidance) * logits - guidance * self.denoiser(z_t, times, None)
        return self._first(logits / temperature, z_t)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        steps: int = 16,
        temperature: float = 1.0,
        guidance: float = 0.0,
        known: Tensor | None = None,
        mask: Tensor | None = None,
        y: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Grids of bits (n, L, c) uint8; the last step takes the likelier value of each.

        Args:
            n: how many.
            steps: that are visited, at most T.
            temperature: by which logits are divided.
            guidance: how far the class draws beyond what it draws by itself; needs y.
            known: (n, L, c) or (L, c), bits of which some are kept.
            mask: of the same shape, true where `known` is kept.
            y: (n,), classes.
            generator: of all that is random; on the CPU.

        Raises:
            ValueError: a mask without bits or the other way round, other shapes, or options out of range.
        """
        config = self.denoiser.config
        shape = (n, config.grid[0] * config.grid[1], config.bits)
        if temperature <= 0 or (guidance and y is None):
            raise ValueError(f"temperature, guidance: expected > 0, and classes, found {temperature} and {guidance}")
        if (known is None) != (mask is None):
            raise ValueError("known, mask: expected both or none, found one")
        device = self.schedule.k.device
        kept = None
        if known is not None and mask is not None:
            for name, given in (("known", known), ("mask", mask)):
                if given.shape not in (shape, shape[1:]):
                    raise ValueError(f"{name}: expected {shape} or {shape[1:]}, found {tuple(given.shape)}")
            kept = mask.to(device).bool().expand(shape), _bits(known).to(device).float().expand(shape)

        def drawn(p: float | Tensor) -> Tensor:
            return completed((torch.rand(shape, generator=generator).to(device) < p).float())

        def completed(z: Tensor) -> Tensor:
            return z if kept is None else torch.where(*kept, z)

        z = drawn(0.5)
        for t, u in self.schedule.visited(steps):
            p0 = self.predicted(z, t, y, temperature, guidance)
            z = drawn(self.schedule.posterior(p0, z, t, u, self.reverse)) if u else completed((p0 > 0.5).float())
        return z.to(torch.uint8)

    @torch.no_grad()
    def elbo(
        self,
        z0: Tensor,
        y: Tensor | None = None,
        steps: int | None = None,
        reverse: Reverse = "mixture",
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """A lower bound (B,) of the log-probability of grids, nats each, by one draw of each step's noise.

        Args:
            z0: (B, L, c), bits.
            y: (B,), classes.
            steps: that are visited, at most T, all if None: the bound of the chain that visits these.
            reverse: see `BernoulliSchedule.posterior`.
            generator: of the noise, which all grids share so that they compare; on the CPU.
        """
        z0 = _bits(z0).float()
        bound = z0.new_zeros(len(z0))
        for t, u in self.schedule.visited(steps):  # k_T = 0: the last step is the coins that sampling begins with
            uniform = torch.rand(z0.shape[1:], generator=generator).to(z0.device)
            z_t = (uniform < self.schedule.marginal(z0, t)).float()
            bound -= self.gap(z0, z_t, self.predicted(z_t, t, y), t, u, reverse).sum(dim=(1, 2))
        return bound

    def gap(self, z0: Tensor, z_t: Tensor, p0: Tensor, t: int, u: int, reverse: Reverse = "mixture") -> Tensor:
        """What a step adds to the negative bound, nats of each bit: how far what is sampled lies from what was.

        The divergence of `posterior(p0)` from `posterior(z0)`; at u = 0, the negative log-probability of z0.
        """
        if u == 0:
            return _cross_entropy(z0, p0)
        was = self.schedule.posterior(z0, z_t, t, u)
        found = self.schedule.posterior(p0, z_t, t, u, reverse)
        return _cross_entropy(was, found) + torch.special.xlogy(was, was) + torch.special.xlogy(1 - was, 1 - was)

    def _first(self, logits: Tensor, z_t: Tensor) -> Tensor:
        """Probability that the first bits were 1, of logits."""
        p = logits.sigmoid()
        return torch.where(z_t == 1, 1 - p, p) if self.predict == "flip" else p

    def _earlier(self, p0: Tensor, z_t: Tensor, t: Tensor) -> Tensor:
        """The posterior of step t - 1, which at t = 1 is the prediction itself."""
        return torch.where((t == 1)[:, None, None], p0, self.schedule.posterior(p0, z_t, t, t - 1, self.reverse))


def _bits(z: Tensor) -> Tensor:
    if z.numel() and not bool(((z == 0) | (z == 1)).all()):
        raise ValueError(f"bits: expected 0 and 1, found {z.unique()[:5].tolist()}")
    return z


def _cross_entropy(target: Tensor, p: Tensor) -> Tensor:
    """Of probabilities of ones, with each other; autocast refuses torch's own."""
    eps = torch.finfo(p.dtype).eps
    p = p.clamp(eps, 1 - eps)
    return -target * p.log() - (1 - target) * (1 - p).log()
