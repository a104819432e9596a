"""`generate_weights`: many draws, of which those are kept that do best on the support (the reject option)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from representation.transfer.d2nwg.generator import WeightGenerator
from representation.transfer.d2nwg.vectorizer import head_logits

Evaluate = Callable[[Mapping[str, Tensor]], float]
"""How badly a state dict does; less is better."""
AROUND = 0.5


def support_loss(state: Mapping[str, Tensor], support: Tensor) -> float:
    """Cross-entropy of a head on a support (C, n, d)."""
    labels = torch.arange(len(support)).repeat_interleave(support.shape[1])
    with torch.no_grad():
        return float(F.cross_entropy(head_logits(state, support.flatten(0, 1)), labels))


@torch.no_grad()
def generate_weights(
    model: WeightGenerator,
    support: Tensor,
    n: int = 50,
    keep: int = 5,
    evaluate: Evaluate | None = None,
    rounds: int = 1,
    steps: int = 50,
    eta: float = 0.0,
    seed: int = 0,
) -> list[dict[str, Tensor]]:
    """Heads for the classes of a support.

    Args:
        model: in evaluation mode.
        support: features (C, shots, d), in the order that the head's classes shall have.
        n: draws of a round.
        keep: how many are returned.
        evaluate: less for better ones; the cross-entropy on the support if None, for heads of linear layers.
        rounds: after the first, draws vary the best ones so far.
        steps: of the sampler.
        eta: of the sampler; 0 takes its randomness from the first noise alone.
        seed: of the noise.

    Returns:
        State dicts, the best first.

    Raises:
        ValueError: a support of other classes or features, or `keep` out of range.
    """
    model.check(support)
    if not 1 <= keep <= n or rounds < 1:
        raise ValueError(f"keep, rounds: expected 1 to {n} and at least 1, found {keep}, {rounds}")
    order, generator = model.order(support), torch.Generator().manual_seed(seed)
    condition = model.condition([support[order]])
    layers = model.config.layers
    steps = min(steps, model.config.steps)
    best: list[tuple[float, dict[str, Tensor], Tensor]] = []
    for _ in range(rounds):
        start = None
        if best:
            varied = torch.stack([latent for _, _, latent in best])
            start = varied[torch.arange(n) % len(best)].flatten(0, 1)
        latents = model.diffusion.sample(
            condition.repeat(n, 1), n * layers, steps, eta, generator, start, AROUND if best else 1.0
        )
        states = model.states(model.decode(latents), order)
        told = [support_loss(state, support) if evaluate is None else evaluate(state) for state in states]
        drawn = zip(told, states, latents.unflatten(0, (n, layers)), strict=True)
        best = sorted([*best, *drawn], key=lambda one: one[0])[:keep]
    return [state for _, state, _ in best]


def tune_head(state: Mapping[str, Tensor], support: Tensor, steps: int, lr: float = 0.1) -> dict[str, Tensor]:
    """A head after some steps of gradient descent on its support (C, n, d)."""
    labels = torch.arange(len(support)).repeat_interleave(support.shape[1])
    tuned = {name: value.clone().requires_grad_() for name, value in state.items()}
    for _ in range(steps):
        loss = F.cross_entropy(head_logits(tuned, support.flatten(0, 1)), labels)
        gradients = torch.autograd.grad(loss, list(tuned.values()))
        with torch.no_grad():
            for value, gradient in zip(tuned.values(), gradients, strict=True):
                value -= lr * gradient
    return {name: value.detach() for name, value in tuned.items()}
