"""The individual and the group objective, and the parts of the KL divergence that they weigh (sections 3.1 and 3.2)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.generative.dts.model import DTSConfig, DTSOutput
from representation.interface import Loss

UNKNOWN = -1  # class of a window that has no label
LOG_2PI = math.log(2 * math.pi)
Estimator = Literal["mws", "uniform"]


class Information(NamedTuple):
    """Parts of the mean KL divergence of posteriors from the prior, nats; they sum to it.

    Attributes:
        mi: mutual information of vector and window.
        tc: total correlation of the vector's numbers.
        dwkl: divergence of the single numbers from the prior, summed.
    """

    mi: Tensor
    tc: Tensor
    dwkl: Tensor


def kl_decomposition(
    z: Tensor, mu: Tensor, logvar: Tensor, dataset_size: int, estimator: Estimator = "mws"
) -> Information:
    """Estimate the parts of the KL divergence from a batch. They can be negative, and differ much below 64 windows.

    Args:
        z: (M, D) drawn vectors.
        mu: (M, D) their means.
        logvar: (M, D) their log variances.
        dataset_size: number N of windows that the batch was drawn from.
        estimator: `mws` weighs a window's own posterior by 1 / N and the others evenly, as the batch is a sample (Chen
            et al., 2018); `uniform` weighs all by 1 / M, as if the batch was all.

    Returns:
        Their sum is the mean of log q(z | x) - log p(z), whatever the weights.

    Raises:
        ValueError: shapes that differ, an empty batch, one of more than N windows, or an unknown estimator.
    """
    if z.ndim != 2 or not (z.shape == mu.shape == logvar.shape) or not len(z):
        raise ValueError(
            f"z, mu, logvar: expected (M, D), found {tuple(z.shape)}, {tuple(mu.shape)} and {tuple(logvar.shape)}"
        )
    if estimator not in ("mws", "uniform"):
        raise ValueError(f"estimator: expected mws or uniform, found {estimator!r}")
    count = len(z)
    if dataset_size < count:
        raise ValueError(f"dataset_size: expected at least the batch's {count} windows, found {dataset_size}")
    weights = torch.full((count, count), -math.log(count), dtype=z.dtype, device=z.device)
    if estimator == "mws":
        if count > 1:
            weights = weights * 0 + math.log(dataset_size - 1) - math.log(dataset_size * (count - 1))
        weights.fill_diagonal_(-math.log(dataset_size))
    return _decomposed(z, mu, logvar, weights, mu, logvar)


def _decomposed(
    z: Tensor, mu: Tensor, logvar: Tensor, weights: Tensor, all_mu: Tensor, all_logvar: Tensor
) -> Information:
    """Of drawn vectors (M, D), by logarithms of weights (M, N) of posteriors of N windows."""
    pairs = log_normal(z[:, None], all_mu[None], all_logvar[None])
    aggregate = (weights + pairs.sum(dim=2)).logsumexp(dim=1)
    single = (weights[:, :, None] + pairs).logsumexp(dim=1).sum(dim=1)
    own = log_normal(z, mu, logvar).sum(dim=1)
    prior = log_normal(z, torch.zeros_like(z), torch.zeros_like(z)).sum(dim=1)
    return Information((own - aggregate).mean(), (aggregate - single).mean(), (single - prior).mean())


@torch.no_grad()
def information(z: Tensor, mu: Tensor, logvar: Tensor, chunk: int = 200) -> Information:
    """The parts over a whole dataset (N, D), in which every window's posterior counts the same."""
    weights = z.new_tensor(-math.log(len(z)))
    parts = [
        torch.stack(_decomposed(*rows, weights.expand(len(rows[0]), len(z)), mu, logvar)) * len(rows[0])
        for rows in zip(z.split(chunk), mu.split(chunk), logvar.split(chunk), strict=True)
    ]
    return Information(*(torch.stack(parts).sum(dim=0) / len(z)))


def log_normal(x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """Log densities of numbers under normal distributions, elementwise."""
    return -((x - mu).square() * (-logvar).exp() + logvar + LOG_2PI) / 2


def reconstruction_loss(output: DTSOutput, x: Tensor) -> Tensor:
    """Negative log likelihood of windows, summed over steps and channels; mean over the batch."""
    return -log_normal(x, output.decoded, 2 * output.log_sigma).sum(dim=(1, 2)).mean()


def dts_individual_loss(
    output: DTSOutput,
    x: Tensor,
    dataset_size: int,
    alpha: float,
    beta: float,
    warmth: float = 1.0,
    likelihood: float = 1.0,
) -> Loss:
    """The negative individual objective: the mutual information is spared that beta would take.

    -E log p(x | z) + (beta - alpha) I + beta TC + beta DWKL: with `alpha` 0 a beta-VAE, with `beta` 1 too the ELBO.

    Args:
        output: of windows.
        x: (M, T, C), these.
        dataset_size: windows that they were drawn from.
        alpha: weight that is given back to the mutual information.
        beta: weight of all parts.
        warmth: weight of all that is not the likelihood, rising from 0 to 1 at the start of a training.
        likelihood: weight of the likelihood; 1 but to show what too small a one does.
    """
    parts = kl_decomposition(output.z, output.mu, output.logvar, dataset_size)
    error = reconstruction_loss(output, x)
    total = likelihood * error + warmth * ((beta - alpha) * parts.mi + beta * (parts.tc + parts.dwkl))
    return Loss(total, {"reconstruction": error, **parts._asdict()})


def dts_group_loss(output: DTSOutput, x: Tensor, dataset_size: int, group_beta: float, warmth: float = 1.0) -> Loss:
    """The negative group objective: -E log p(x | z) + sum over groups of KL(q(g | x) || p) - group_beta KL(q(z) || p).

    That groups are independent is asked for by `GroupHeads`.

    Args:
        output: of windows.
        x: (M, T, C), these.
        dataset_size: windows that they were drawn from.
        group_beta: in [0, 1].
        warmth: as in `dts_individual_loss`.

    Raises:
        ValueError: a `group_beta` with which the objective has no bound.
    """
    if not 0 <= group_beta <= 1:
        raise ValueError(f"group_beta: expected in [0, 1], found {group_beta}")
    parts = kl_decomposition(output.z, output.mu, output.logvar, dataset_size)
    # Groups are ranges of numbers that are independent given a window: their divergences sum to that of the whole.
    divergence = (output.mu.square() + output.logvar.exp() - output.logvar - 1).sum(dim=1).mean() / 2
    error = reconstruction_loss(output, x)
    total = error + warmth * (divergence - group_beta * (parts.tc + parts.dwkl))
    return Loss(total, {"reconstruction": error, "kl": divergence, **parts._asdict()})


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, lam: float) -> Tensor:
        context.lam = lam
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -context.lam * gradients[0], None


def gradient_reversal(x: Tensor, lam: float) -> Tensor:
    """The same numbers, whose gradient is multiplied by -lam (Ganin et al., 2016)."""
    return _Reversal.apply(x, lam)


def reversal_strength(progress: float) -> float:
    """From 0 to nearly 1 as a training goes from 0 to 1: 2 / (1 + exp(-10 p)) - 1."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


class GroupHeads(nn.Module):
    """What makes groups mean something: each tells its own target, and an adversary fails to tell the others' by it.

    Args:
        config: whose groups.
        classes: of each target, by the group that shall tell it.
        hidden: numbers of an adversary's hidden layer.
        seed: of the first weights.

    Raises:
        ValueError: a target of no group, or of fewer than two classes.
    """

    def __init__(self, config: DTSConfig, classes: Mapping[str, int], hidden: int = 32, seed: int = 0) -> None:
        super().__init__()
        if not set(classes) <= set(config.groups) or min(classes.values(), default=0) < 2:
            raise ValueError(f"classes: expected at least 2 for some of {list(config.groups)}, found {dict(classes)}")
        self.config, self.classes = config, dict(classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.own = nn.ModuleDict({name: nn.Linear(config.groups[name], n) for name, n in classes.items()})
            self.adversaries = nn.ModuleDict()
            for group, size in config.groups.items():
                for target in (name for name in classes if name != group):
                    # Normalised first: a group could escape an adversary by its scale alone.
                    self.adversaries[f"{target}_by_{group}"] = nn.Sequential(
                        nn.BatchNorm1d(size, affine=False),
                        nn.Linear(size, hidden),
                        nn.ReLU(),
                        nn.Linear(hidden, classes[target]),
                    )

    def forward(self, vectors: Tensor, targets: Mapping[str, Tensor], lam: float) -> Loss:
        """Cross-entropy of all heads.

        Args:
            vectors: (B, D).
            targets: classes (B,) by group, `UNKNOWN` where a window has none; these leave out its term.
            lam: by which the gradients of adversaries are reversed.

        Raises:
            ValueError: other targets than were announced, or classes that there are not.
        """
        if set(targets) != set(self.classes):
            raise ValueError(f"targets: expected those of {list(self.classes)}, found {list(targets)}")
        total, parts = vectors.new_zeros(()), {}
        for target, wanted in targets.items():
            if wanted.min() < UNKNOWN or wanted.max() >= self.classes[target]:
                raise ValueError(
                    f"{target}: expected classes from 0 to {self.classes[target] - 1}, or {UNKNOWN}, "
                    f"found {int(wanted.min())} to {int(wanted.max())}"
                )
            own = self.own[target](vectors[:, self.config.columns(target)])
            parts[target] = _cross_entropy(own, wanted)
            total = total + parts[target]
            for group in (name for name in self.config.groups if name != target):
                name = f"{target}_by_{group}"
                values = gradient_reversal(vectors[:, self.config.columns(group)], lam)
                parts[name] = _cross_entropy(self.adversaries[name](values), wanted)
                total = total + self.config.adversary * parts[name]
        return Loss(total, parts)


def _cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """Mean over those that are known, 0 where none is."""
    known = wanted != UNKNOWN
    return F.cross_entropy(logits[known], wanted[known]) if known.any() else logits.sum() * 0.0
