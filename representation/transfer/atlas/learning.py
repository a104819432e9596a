"""How coefficients are learned: from few samples, from none, or to forget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.transfer.atlas.composer import AnisotropicComposer

LossFn = Callable[[AnisotropicComposer, Any], Tensor]
Labelled = tuple[Tensor, Tensor]


class Batches(Protocol):
    """A list of batches, or what makes them as they are asked for."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, number: int, /) -> Any:
        """One of them."""
        ...


_SELECTIONS = 10  # of a run of `learn_composition`
_MOST_TRUSTED, _TRUSTED_SHARE = 100, 0.1


def learn_composition(
    composer: AnisotropicComposer,
    loss_fn: LossFn,
    batches: Batches,
    lr: float = 0.1,
    weight_decay: float = 0.1,
    steps: int = 150,
    clip: float = 1.0,
    lp: Literal[1, 2] | None = None,
    gamma: float = 0.5,
    select: Callable[[AnisotropicComposer], float] | None = None,
) -> list[float]:
    """Learn the coefficients by AdamW with a cosine to 0; CLIP's deltas bear a rate of 0.1, small networks' 0.02-0.05.

    Args:
        composer: changed.
        loss_fn: of the composer and a batch.
        batches: gone through again and again; they may be made as they are asked for.
        lr: learning rate.
        weight_decay: draws the coefficients to 0, which is the base.
        steps: of the optimizer.
        clip: largest norm of the gradient.
        lp: adds gamma times the mean over blocks of this norm over the vectors.
        gamma: of that.
        select: more is better; the best of the start and ten moments of the run is kept, and not the last.

    Returns:
        The loss at each step.

    Raises:
        ValueError: no batches or steps, or a loss that is not finite.
    """
    if len(batches) == 0 or steps < 1:
        raise ValueError(f"batches, steps: expected some, found {len(batches)} and {steps}")
    optimizer = torch.optim.AdamW([composer.coef], lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps)))
    start = -math.inf if select is None else select(composer)
    losses, best = [], (start, composer.coef.detach().clone())
    for step in range(steps):
        batch = batches[step % len(batches)]
        optimizer.zero_grad()
        loss = loss_fn(composer, batch)
        if not torch.isfinite(loss):
            raise ValueError(f"loss: expected finite, found {float(loss.detach())} at step {step}")
        losses.append(float(loss.detach()))
        if lp is not None:
            loss = loss + gamma * _block_norms(composer.coef, lp).mean()
        loss.backward()
        nn.utils.clip_grad_norm_([composer.coef], clip)
        optimizer.step()
        schedule.step()
        if select is not None and (step + 1) % max(1, steps // _SELECTIONS) == 0:
            best = max(best, (select(composer), composer.coef.detach().clone()), key=lambda pair: pair[0])
    if select is not None:
        with torch.no_grad():
            composer.coef.copy_(best[1])
    return losses


def cross_entropy(composer: AnisotropicComposer, batch: Labelled) -> Tensor:
    """The loss of inputs and classes (B,)."""
    return F.cross_entropy(composer(batch[0]), batch[1])


@torch.no_grad()
def accuracy(composer: AnisotropicComposer, batches: Sequence[Labelled]) -> float:
    """Share of the samples of some batches whose class is told."""
    right = torch.cat([composer(x).argmax(dim=-1) == y for x, y in batches])
    return float(right.double().mean())


def negate(
    composer: AnisotropicComposer,
    target_batches: Sequence[Any],
    control_batches: Sequence[Any],
    control_floor: float = 0.95,
    loss_fn: LossFn = cross_entropy,
    measure: Callable[[AnisotropicComposer, Sequence[Any]], float] = accuracy,
    lr: float = 1e-3,
    weight_decay: float = 0.1,
    epochs: int = 20,
    clip: float = 1.0,
) -> list[tuple[float, float]]:
    """Unlearn a target: ascend its loss and descend a control's, until the control suffers.

    Args:
        composer: usually of one vector, the target's; it is left at the epoch with the lowest measure of the target
            among those that keep the control.
        target_batches: what is to be unlearned.
        control_batches: what is to be kept.
        control_floor: share of the control's measure at the beginning that must stay.
        loss_fn: of the composer and a batch.
        measure: of the composer on batches; more is better.
        lr: learning rate.
        weight_decay: of AdamW.
        epochs: over the target's batches; it ends earlier where the control falls below the floor.
        clip: largest norm of the gradient.

    Returns:
        Measures of target and control before the first epoch and after each.

    Raises:
        ValueError: no batches.
    """
    if not target_batches or not control_batches:
        raise ValueError(f"batches: expected some, found {len(target_batches)} and {len(control_batches)}")
    optimizer = torch.optim.AdamW([composer.coef], lr, weight_decay=weight_decay)
    seen = [(measure(composer, target_batches), measure(composer, control_batches))]
    floor, best = control_floor * seen[0][1], (seen[0][0], composer.coef.detach().clone())
    for _ in range(epochs):
        for target, control in zip(target_batches, cycle(control_batches), strict=False):
            optimizer.zero_grad()
            (loss_fn(composer, control) - loss_fn(composer, target)).backward()
            nn.utils.clip_grad_norm_([composer.coef], clip)
            optimizer.step()
        seen.append((measure(composer, target_batches), measure(composer, control_batches)))
        if seen[-1][1] < floor:
            break
        if seen[-1][0] < best[0]:
            best = (seen[-1][0], composer.coef.detach().clone())
    with torch.no_grad():
        composer.coef.copy_(best[1])
    return seen


def trusted_samples(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Fixed labels of the samples that are surest of each class: the best min(N / 10 C, 100) of each of C.

    Args:
        logits: (N, C) of all samples, by the network before adaptation.

    Returns:
        Labels (N,), and which of them are trusted (N,) bool; a sample that is sure of two classes has the likelier.
    """
    chances = logits.softmax(dim=1)
    count = min(max(1, int(_TRUSTED_SHARE * len(logits) / logits.shape[1])), _MOST_TRUSTED)
    top = torch.zeros_like(chances, dtype=torch.bool).scatter_(0, chances.topk(count, dim=0).indices, True)
    labels = chances.masked_fill(~top, -1.0).argmax(dim=1)
    return labels, top.any(dim=1)


def ufm_loss(
    logits_weak: Tensor, logits_strong: Tensor, labels: Tensor, trusted: Tensor, thresh: float = 0.99
) -> Tensor:
    """Unsupervised FixMatch: what is told of the weak view is learned on the strong one, where it is sure enough.

    Args:
        logits_weak: (B, C), which teach.
        logits_strong: (B, C), which learn.
        labels: (B,) of `trusted_samples`.
        trusted: (B,) bool, where the label stands for the weak view.
        thresh: least probability with which a sample counts.

    Returns:
        The mean cross-entropy of those that count; 0 where none does.
    """
    told = logits_weak.detach().softmax(dim=1)
    fixed = F.one_hot(labels, told.shape[1]).to(told)
    told = torch.where(trusted[:, None], fixed, told)
    counts = (told.amax(dim=1) > thresh).to(told)
    errors = -(told * logits_strong.log_softmax(dim=1)).sum(dim=1)
    return (errors * counts).sum() / counts.sum().clamp(min=1)


def entropy_loss(logits: Tensor) -> Tensor:
    """Mean entropy of what is told of samples (B, C): the simpler objective without labels."""
    return -(logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1).mean()


def select_blocks(composer: AnisotropicComposer, loss_fn: LossFn, batches: Sequence[Any], budget: int) -> Tensor:
    """Keep the (vector, block) pairs whose coefficients the loss depends on most at the base, and let others go.

    Args:
        composer: whose coefficients are 0 again afterwards.
        loss_fn: of the composer and a batch.
        batches: over which gradients are summed.
        budget: pairs that are kept.

    Returns:
        Which are kept (n, m), bool.

    Raises:
        ValueError: a global composer, or a budget of none or more than there are.
    """
    if composer.granularity == "global" or not 1 <= budget <= composer.kept.numel():
        raise ValueError(f"budget: expected 1 to {composer.kept.numel()} without global, found {budget}")
    with torch.no_grad():
        composer.coef.zero_()
    total = torch.zeros_like(composer.coef)
    for batch in batches:
        (gradient,) = torch.autograd.grad(loss_fn(composer, batch), composer.coef)
        total += gradient
    use = total.abs() if total.ndim == 2 else total.norm(dim=2)
    use = use.masked_fill(~composer.kept, -1.0)
    kept = torch.zeros_like(composer.kept)
    kept.view(-1)[use.flatten().topk(budget).indices] = True
    composer.keep(kept & composer.kept)
    return composer.kept


def _block_norms(coef: Tensor, p: int) -> Tensor:
    return coef.norm(p=p, dim=0)
