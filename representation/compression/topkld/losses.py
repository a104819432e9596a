"""Divergences of a student's classes from a teacher's, position by position.

Both take logits (..., V); p is the teacher's distribution, q the student's. Classes that either has masked by -inf
count for nothing; a class that only the student lacks makes p log(p / q) infinite, and is the caller's mistake.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Variant = Literal["generalized", "naive", "swapped"]


def forward_kld(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over positions of sum p log(p / q): the student covers what the teacher finds possible.

    Args:
        student: (..., V) logits.
        teacher: (..., V) logits.
        mask: (...) bool, True at positions that count; None for all.
    """
    log_q, log_p = _log_probabilities(student, teacher)
    return _mean(_terms(log_p, log_q).sum(-1), mask)


def reverse_kld(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over positions of sum q log(q / p): the student seeks what the teacher finds likely; see `forward_kld`."""
    log_q, log_p = _log_probabilities(student, teacher)
    return _mean(_terms(log_q, log_p).sum(-1), mask)


def topkld(
    student: Tensor, teacher: Tensor, k: int, variant: Variant = "generalized", mask: Tensor | None = None
) -> Tensor:
    """Mean over positions of reverse divergence on the teacher's k likeliest classes and forward divergence elsewhere.

    Args:
        student: (..., V) logits.
        teacher: (..., V) logits. Of equal ones those of smaller number come first.
        k: classes of explicit knowledge, 0 to V.
        variant: "generalized" adds q's and p's masses so that each part is a divergence that is 0 where q = p alone;
            "naive" is the bare sum, whose gradient at q = p takes mass away from the k classes; "swapped" is
            generalized with forward divergence on the k classes and reverse elsewhere.
        mask: (...) bool, True at positions that count; None for all.

    Raises:
        ValueError: shapes that differ, or k outside of [0, V].
    """
    if student.shape != teacher.shape or not 0 <= k <= teacher.shape[-1]:
        raise ValueError(
            f"student, teacher, k: expected equal shapes and k in [0, V], found {tuple(student.shape)}, "
            f"{tuple(teacher.shape)} and {k}"
        )
    log_q, log_p = _log_probabilities(student, teacher)
    order = teacher.detach().argsort(dim=-1, descending=True, stable=True)
    top = torch.zeros_like(order, dtype=torch.bool).scatter(-1, order[..., :k], True)
    forward, reverse = _terms(log_p, log_q), _terms(log_q, log_p)
    if variant != "naive":
        surplus = log_q.exp() - log_p.exp()
        forward, reverse = forward + surplus, reverse - surplus
    if variant == "swapped":
        forward, reverse = reverse, forward
    return _mean(torch.where(top, reverse, forward).sum(-1), mask)


def _log_probabilities(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    wide = torch.promote_types(student.dtype, torch.float32)
    return student.to(wide).log_softmax(-1), teacher.detach().to(wide).log_softmax(-1)


def _terms(log_a: Tensor, log_b: Tensor) -> Tensor:
    """A log(a / b) by class, 0 where a is."""
    impossible = log_a.isneginf()
    # Filled in before the product, as 0 * inf has no gradient.
    log_a, log_b = log_a.masked_fill(impossible, 0.0), log_b.masked_fill(impossible, 0.0)
    return torch.where(impossible, 0.0, log_a.exp() * (log_a - log_b))


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return values.mean()
    return values.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)
