"""The network of KTF, and the distance of means that it is trained to make small."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import load_weights, read_config, save_encoder

SYSTEM = "shda_ktf"
DEVIATION = 0.01  # of the first weights and biases, before truncation at twice as much
_SMALLEST = 1e-12  # squared length


def unit_rows(x: Tensor) -> Tensor:
    """Rows (n, d) of length 1; a row of zeros stays."""
    return x * x.square().sum(dim=1, keepdim=True).clamp(min=_SMALLEST).rsqrt()


class KTF(nn.Module):
    """A projector of target vectors into the common space, and a classifier that target and source share (section 2).

    Args:
        target_dim: numbers D of a target vector.
        num_classes: C.
        common_dim: numbers d of the common space.
        slope: of the leaky rectifier.
        seed: of the weights, which are drawn from a normal distribution truncated at two deviations.
    """

    def __init__(
        self, target_dim: int, num_classes: int, common_dim: int = 256, slope: float = 0.2, seed: int = 0
    ) -> None:
        super().__init__()
        if target_dim < 1 or num_classes < 2 or common_dim < 1:
            found = f"{target_dim}, {num_classes} and {common_dim}"
            raise ValueError(f"target_dim, num_classes, common_dim: expected at least 1, 2 and 1, found {found}")
        self.config = {
            "target_dim": target_dim, "num_classes": num_classes, "common_dim": common_dim, "slope": slope,
        }  # fmt: skip
        self.slope = slope
        self.projector, self.classifier = nn.Linear(target_dim, common_dim), nn.Linear(common_dim, num_classes)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            nn.init.trunc_normal_(parameter, std=DEVIATION, a=-2 * DEVIATION, b=2 * DEVIATION, generator=generator)

    def project(self, x: Tensor) -> Tensor:
        """Vectors (n, d) of length 1 in the common space, of target vectors (n, D) of any length."""
        if x.ndim != 2 or x.shape[1] != self.projector.in_features:
            raise ValueError(f"x: expected (n, {self.projector.in_features}), found {tuple(x.shape)}")
        return unit_rows(F.leaky_relu(self.projector(unit_rows(x)), self.slope))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, C) of target vectors (n, D)."""
        return self.classifier(self.project(x))

    def penalty(self) -> Tensor:
        """Half the squares of all weights but biases."""
        return (self.projector.weight.square().sum() + self.classifier.weight.square().sum()) / 2

    def save(self, directory: Path) -> None:
        """Write weights and sizes."""
        save_encoder(self, SYSTEM, self.config, directory)


def load(directory: Path) -> KTF:
    """Read what `KTF.save` wrote."""
    model = KTF(**read_config(directory)["config"])
    load_weights(model, directory)
    return model.eval()


class SoftMMD(NamedTuple):
    """Squared distances of means.

    Attributes:
        marginal: of all of the source and all of the target.
        conditional: sum over classes of those of their means.
        total: both together, over C + 1.
    """

    marginal: Tensor
    conditional: Tensor
    total: Tensor


def class_means(x: Tensor, weights: Tensor) -> Tensor:
    """Weighted means (C, d) of rows (n, d), with weights (n, C)."""
    return weights.T @ x / weights.sum(dim=0)[:, None]


def soft_mmd(
    ps: Tensor,
    ys: Tensor,
    pl: Tensor,
    yl: Tensor,
    pu: Tensor,
    prob_u: Tensor,
    num_classes: int,
    priors: Tensor | None = None,
    soft_weight: float = 1.0,
) -> SoftMMD:
    """How far source and target are apart, in all and class by class (section 2, L_MMD).

    Args:
        ps: (n_s, d) source.
        ys: (n_s,) its classes.
        pl: (n_l, d) labelled target.
        yl: (n_l,) its classes.
        pu: (n_u, d) unlabelled target.
        prob_u: (n_u, C) what its classes may be; gradients flow through it.
        num_classes: C.
        priors: (C,) how frequent the classes are in the target; None takes the source's mean as it is.
        soft_weight: of the unlabelled in the means of classes.

    Raises:
        ValueError: shapes that do not fit, or a class without a source sample.
    """
    if prob_u.shape != (len(pu), num_classes):
        raise ValueError(f"prob_u: expected {(len(pu), num_classes)}, found {tuple(prob_u.shape)}")
    if not ps.shape[1] == pl.shape[1] == pu.shape[1]:
        widths = ps.shape[1], pl.shape[1], pu.shape[1]
        raise ValueError(f"ps, pl, pu: expected vectors of one width, found {widths}")
    source_classes = F.one_hot(ys, num_classes).to(ps.dtype)
    if bool((source_classes.sum(dim=0) == 0).any()):
        raise ValueError(f"ys: expected each of {num_classes} classes, found {ys.unique().tolist()}")
    source_means = class_means(ps, source_classes)
    both = torch.cat([F.one_hot(yl, num_classes).to(pl.dtype), soft_weight * prob_u])
    target = torch.cat([pl, pu])
    source_mean = ps.mean(dim=0) if priors is None else priors.to(ps.dtype) @ source_means
    marginal = (source_mean - target.mean(dim=0)).square().sum()
    conditional = (source_means - class_means(target, both)).square().sum()
    return SoftMMD(marginal, conditional, (marginal + conditional) / (num_classes + 1))
