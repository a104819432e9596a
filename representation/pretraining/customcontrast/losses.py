"""Contrast between subjects: of pictures with texts (CSCL), and of the appearance at each scale (MACL)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

TEMPERATURE, RELEVANCE_TEMPERATURE = 0.07, 0.5


def crossmodal_semantic_loss(
    cls_v: Tensor, cls_t: Tensor, subject_id: Tensor, class_id: Tensor, temperature: float = TEMPERATURE
) -> Tensor:
    """CSCL: pictures and texts of one subject agree, both ways; those of others differ.

    Subjects of one class have the same text and would push each other away from it: such pairs do not count.

    Args:
        cls_v: (B, d) of the pictures; brought to unit length here, as are
        cls_t: (B, d), of the text of each picture.
        subject_id: (B,) whole numbers.
        class_id: (B,) whole numbers.
        temperature: of the cosines.

    Returns:
        Scalar: mean over both directions of -1/|P_i| sum_p log softmax(z_i . t_p / temperature).

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite, or one subject only.
    """
    _check_rows("cls_v", cls_v, 2, subject_id)
    _check_rows("class_id", class_id, 1, subject_id)
    if cls_t.shape != cls_v.shape:
        raise ValueError(f"cls_t: expected {tuple(cls_v.shape)} as cls_v, found {tuple(cls_t.shape)}")
    _check_rows("cls_t", cls_t, 2, subject_id)
    same = subject_id[:, None] == subject_id
    alike = (class_id[:, None] == class_id) & ~same
    scores = (F.normalize(cls_v, dim=1) @ F.normalize(cls_t, dim=1).T / temperature).masked_fill(alike, -torch.inf)
    sums = [scores.log_softmax(dim=dim).masked_fill(~same, 0.0).sum(dim=dim) / same.sum(dim=dim) for dim in (0, 1)]
    return -torch.cat(sums).mean()


def multiscale_appearance_loss(
    codes: Tensor,
    subject_id: Tensor,
    relevance: Tensor | None,
    groups: Sequence[Sequence[int]],
    temperature: float = TEMPERATURE,
    relevance_temperature: float = RELEVANCE_TEMPERATURE,
    heads: Sequence[Callable[[Tensor], Tensor]] | None = None,
) -> Tensor:
    """MACL: at every scale views of a subject agree, the more the more alike they look; other subjects differ.

    Args:
        codes: (B, K, d), one code for each layer that it is injected into.
        subject_id: (B,) whole numbers; each view comes with others of its subject.
        relevance: (B, B) cosines of the views by other features; gets no gradient. None: all positives weigh the same.
        groups: numbers of the codes of each scale. Their mean stands for the scale.
        temperature: of the cosines of the codes.
        relevance_temperature: of the softmax over the positives of a view, which are their weights.
        heads: of each scale, (B, d) to (B, e); None takes the means as they are.

    Returns:
        Scalar, mean over the scales. A view without positives is left out.

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite, one subject only, or no two views of any.
    """
    _check_rows("codes", codes, 3, subject_id)
    count = len(codes)
    if heads is not None and len(heads) != len(groups):
        raise ValueError(f"heads: expected {len(groups)}, one for each group, found {len(heads)}")
    if not groups or any(not group or not all(0 <= k < codes.shape[1] for k in group) for group in groups):
        raise ValueError(f"groups: expected some of the codes 0 to {codes.shape[1] - 1} in each, found {groups}")
    own = torch.eye(count, dtype=torch.bool, device=codes.device)
    positive = (subject_id[:, None] == subject_id) & ~own
    paired = positive.any(dim=1)
    if not paired.any():
        raise ValueError("subject_id: expected several views of some subject, found one of each")
    if relevance is None:
        relevance = codes.new_zeros(count, count)
    elif relevance.shape != (count, count):
        raise ValueError(f"relevance: expected {(count, count)}, found {tuple(relevance.shape)}")
    scaled = (relevance.detach() / relevance_temperature).masked_fill(~positive, -torch.inf)
    weights = scaled[paired].softmax(dim=1)
    total = codes.new_zeros(())
    for place, group in enumerate(groups):
        vectors = codes[:, list(group)].mean(dim=1)
        vectors = F.normalize(vectors if heads is None else heads[place](vectors), dim=1)
        told = (vectors @ vectors.T / temperature).masked_fill(own, -torch.inf).log_softmax(dim=1)
        # |P| w / |P|: the weights of a view's positives sum to 1.
        total = total - (weights * told.masked_fill(own, 0.0)[paired]).sum(dim=1).mean()
    return total / len(groups)


def _check_rows(name: str, values: Tensor, ndim: int, subject_id: Tensor) -> None:
    if subject_id.ndim != 1 or values.ndim != ndim or len(values) != len(subject_id):
        raise ValueError(
            f"{name}: expected {ndim} dimensions and a row for each subject_id {tuple(subject_id.shape)}, "
            f"found {tuple(values.shape)}"
        )
    if not torch.isfinite(values).all():
        raise ValueError(f"{name}: expected finite numbers, found others")
    if len(subject_id) == 0 or (subject_id == subject_id[0]).all():
        raise ValueError(f"subject_id: expected at least two subjects, found {subject_id.unique().tolist()}")
