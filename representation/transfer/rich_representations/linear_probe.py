"""`LinearProbe`: a linear classifier on frozen vectors, whose weight decay is chosen for each representation anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.compatibility.class_logits import ClassLogits

WEIGHT_DECAYS = (1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2)
TYPICAL_DECAY = 5e-4
EPOCHS, MILESTONES, LR, MOMENTUM, BATCH, LEAST_STEPS = 28, (8, 16, 24), 0.1, 0.9, 256, 120
HEAD_SPREAD = 0.01  # of first weights
FOLDS, EPS = 3, 1e-5


def cosine_head(width: int, num_classes: int, scale: float = 10.0, seed: int = 0) -> ClassLogits:
    """Logits are cosines of vectors and class weights times a scale (Baseline++), for few samples."""
    return ClassLogits(width, num_classes, scale, torch.Generator().manual_seed(seed))


class LinearProbe:
    """Batch normalisation and a linear layer, by SGD with Nesterov momentum; the normalisation does not decay.

    All weight decays are trained at once, on the same batches; the one with the best accuracy on validation samples is
    kept. Decay of SGD is half the squared norm in the loss.

    Args:
        num_classes: number C of classes.
        batch_norm: whether vectors are brought to mean 0 and deviation 1 first; a cosine head wants False.
        weight_decays: that are tried.
        cosine: scale of a cosine head instead of a linear one; None for linear.
        seed: of first weights and batches.

    Attributes:
        weight_decay: that was chosen, after `fit`.
    """

    def __init__(
        self,
        num_classes: int,
        batch_norm: bool = True,
        weight_decays: Sequence[float] = WEIGHT_DECAYS,
        cosine: float | None = None,
        seed: int = 0,
    ) -> None:
        if num_classes < 2 or not weight_decays:
            raise ValueError(f"num_classes: expected 2 or more, and decays, found {num_classes}, {weight_decays}")
        if cosine is not None and batch_norm:
            raise ValueError("cosine: expected no batch_norm before it, found both")
        self.num_classes, self.batch_norm, self.weight_decays = num_classes, batch_norm, tuple(weight_decays)
        self.cosine, self.seed = cosine, seed
        self.weight_decay = float("nan")
        self._head: nn.Module | None = None

    def fit(self, vectors: Tensor, labels: Tensor, val: tuple[Tensor, Tensor] | None = None) -> LinearProbe:
        """Train.

        Args:
            vectors: (N, D).
            labels: (N,) classes.
            val: the same, held out, to choose the weight decay by. If None it is chosen on three folds and all is
                trained on; where a class has one sample, it is 5e-4 or the nearest that is tried.

        Raises:
            ValueError: wrong shapes, numbers that are not finite, or classes beyond `num_classes`.
        """
        self._check(vectors, labels)
        if val is not None:
            self._check(*val)
            right = self._accuracies(vectors, labels, *val)
        else:
            folds = list(_folds(labels, self.seed))
            distance = (torch.tensor(self.weight_decays).log() - torch.tensor(TYPICAL_DECAY).log()).abs()
            tried = [self._accuracies(vectors[a], labels[a], vectors[b], labels[b]) for a, b in folds]
            right = torch.stack(tried).mean(dim=0) if tried else -distance
        best = int(right.argmax())
        self.weight_decay = self.weight_decays[best]
        self._head = self._trained(vectors, labels, (self.weight_decay,))[0]
        return self

    def head(self) -> nn.Module:
        """What was trained as one layer on plain vectors: the normalisation is folded into it."""
        if self._head is None:
            raise ValueError("probe: expected a fitted one, found one that is not")
        return self._head

    @torch.no_grad()
    def logits(self, vectors: Tensor) -> Tensor:
        """Logits (N, C) of vectors (N, D)."""
        return self.head()(vectors)

    def score(self, vectors: Tensor, labels: Tensor) -> float:
        """Accuracy."""
        return float((self.logits(vectors).argmax(dim=1) == labels).float().mean())

    def _check(self, vectors: Tensor, labels: Tensor) -> None:
        if vectors.ndim != 2 or labels.shape != vectors.shape[:1] or not len(labels):
            raise ValueError(f"vectors: expected (N, D) with N labels, found {tuple(vectors.shape)}, {len(labels)}")
        if not torch.isfinite(vectors).all():
            raise ValueError("vectors: expected finite numbers, found others")
        if not 0 <= int(labels.min()) <= int(labels.max()) < self.num_classes:
            raise ValueError(f"labels: expected 0 to {self.num_classes - 1}, found {labels.unique().tolist()}")

    def _accuracies(self, vectors: Tensor, labels: Tensor, others: Tensor, wanted: Tensor) -> Tensor:
        heads = self._trained(vectors, labels, self.weight_decays)
        with torch.no_grad():
            return torch.stack([(head(others).argmax(dim=1) == wanted).float().mean() for head in heads])

    def _trained(self, vectors: Tensor, labels: Tensor, decays: Sequence[float]) -> list[nn.Module]:
        """A head of each weight decay."""
        generator = torch.Generator().manual_seed(self.seed)
        count, width = vectors.shape
        mean, var = vectors.mean(dim=0), vectors.var(dim=0, correction=0)
        strengths = vectors.new_tensor(decays)
        weight = HEAD_SPREAD * torch.randn(self.num_classes, width, generator=generator)
        if self.cosine is not None:
            weight = weight / (HEAD_SPREAD * width**0.5)
        weight = weight.expand(len(decays), -1, -1).clone().requires_grad_()
        bias = torch.zeros(len(decays), self.num_classes, requires_grad=True)
        gain = torch.ones(len(decays), 1, width, requires_grad=self.batch_norm)
        shift = torch.zeros(len(decays), 1, width, requires_grad=self.batch_norm)
        trained = [weight, *([] if self.cosine is not None else [bias]), *([gain, shift] if self.batch_norm else [])]
        optimizer = torch.optim.SGD(trained, LR, momentum=MOMENTUM, nesterov=True)
        per_epoch = -(-count // BATCH)
        epochs = max(EPOCHS, -(-LEAST_STEPS // per_epoch))
        milestones = [epochs * mark // EPOCHS for mark in MILESTONES]
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, 0.1)
        for _ in range(epochs):
            for rows in torch.randperm(count, generator=generator).split(BATCH):
                x = vectors[rows]
                if self.cosine is None:
                    few = len(rows) < 2
                    centre, spread = (mean, var) if few else (x.mean(dim=0), x.var(dim=0, correction=0))
                    x = (x - centre) * (spread + EPS).rsqrt() if self.batch_norm else x
                    logits = x @ (weight * gain).flatten(0, 1).T + ((weight * shift).sum(dim=2) + bias).flatten()
                else:
                    logits = self.cosine * F.normalize(x, dim=1) @ F.normalize(weight, dim=2).flatten(0, 1).T
                wanted = labels[rows][:, None].expand(-1, len(decays))
                losses = F.cross_entropy(logits.unflatten(1, (len(decays), -1)).mT, wanted, reduction="none")
                decayed = 0.5 * (strengths * weight.square().sum(dim=(1, 2))).sum()
                if self.cosine is None:
                    decayed = decayed + 0.5 * (strengths * bias.square().sum(dim=1)).sum()
                optimizer.zero_grad()
                (losses.mean(dim=0).sum() + decayed).backward()
                optimizer.step()
            schedule.step()
        scale = gain.detach()[:, 0] * (var + EPS).rsqrt() if self.batch_norm else gain.detach()[:, 0]
        offset = shift.detach()[:, 0] - scale * mean if self.batch_norm else shift.detach()[:, 0]
        return [
            self._one_layer(w, b, s, o)
            for w, b, s, o in zip(weight.detach(), bias.detach(), scale, offset, strict=True)
        ]

    def _one_layer(self, weight: Tensor, bias: Tensor, scale: Tensor, offset: Tensor) -> nn.Module:
        if self.cosine is not None:
            head: nn.Module = cosine_head(weight.shape[1], self.num_classes, self.cosine)
            head.load_state_dict({"weight": weight})
        else:
            head = nn.Linear(weight.shape[1], self.num_classes)
            head.load_state_dict({"weight": weight * scale, "bias": bias + weight @ offset})
        return head.requires_grad_(False)


def _folds(labels: Tensor, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows to train on and to validate with, by class; none where a class has one sample."""
    count = min(FOLDS, int(torch.bincount(labels)[labels.unique()].min()))
    if count < 2:
        return
    generator = torch.Generator().manual_seed(seed)
    place = torch.empty(len(labels), dtype=torch.int64)
    for label in labels.unique():
        rows = torch.nonzero(labels == label)[:, 0]
        place[rows[torch.randperm(len(rows), generator=generator)]] = torch.arange(len(rows)) % count
    for fold in range(count):
        yield torch.nonzero(place != fold)[:, 0], torch.nonzero(place == fold)[:, 0]
