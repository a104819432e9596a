"""Classification: a norm and one linear layer on the pooled features, and how that is trained."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.selection.benchx.backends import FeatureBackend, Pooling, pooled
from representation.selection.benchx.cases import Cases
from representation.selection.benchx.metrics import multiclass_f1, multiclass_metrics, multilabel_metrics
from representation.selection.benchx.outcome import Outcome
from representation.selection.benchx.picture_transforms import PictureTransform
from representation.selection.benchx.schedules import EarlyStopping, WarmupCosineScheduler

HEAD_STD = 2e-5


@dataclass(frozen=True)
class ClassificationRecipe:
    """How a probe is trained; the defaults are the published ones. Only `lr` and `batch_size` are meant to be searched.

    Attributes:
        optimizer: "adam", or "sgd" with momentum 0.9.
        lr: of the head.
        encoder_lr: of the encoder, as a share of `lr`.
        batch_size: pictures of a step.
        epochs: at most.
        first_evaluation: epoch, counted from 1, after which it is first measured.
        evaluate_every: epochs between measurements.
        patience: measurements without improvement after which training ends.
        warmup_steps: of the learning rate.
        total_steps: step at which the cosine is 0.
        clip_norm: largest norm of the gradient.
        norm: whether the head begins with a layer norm.
        dropout: of the head's inputs.
        pooling: of tokens.
        freeze: whether the encoder stays as it is, in evaluation mode.
        pictures: their preprocessing.
    """

    optimizer: Literal["adam", "sgd"] = "adam"
    lr: float = 1e-4
    encoder_lr: float = 0.1
    batch_size: int = 64
    epochs: int = 200
    first_evaluation: int = 10
    evaluate_every: int = 5
    patience: int = 10
    warmup_steps: int = 50
    total_steps: int = 3000
    clip_norm: float = 1.0
    norm: bool = True
    dropout: float = 0.0
    pooling: Pooling = "mean"
    freeze: bool = False
    pictures: PictureTransform = field(default_factory=PictureTransform)

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.encoder_lr < 0 or min(self.batch_size, self.epochs, self.evaluate_every) < 1:
            raise ValueError(f"recipe: expected positive lr, batch_size, epochs and evaluate_every, found {self}")


class ClassificationProbe(nn.Module):
    """A backend with a linear classifier, whose first logits are all but 0.

    Args:
        backend: is trained too, unless frozen; a module.
        classes: logits C.
        norm: whether there is a layer norm.
        dropout: before the linear layer.
        pooling: of tokens.
        freeze: whether the backend stays as it is; it is then always in evaluation mode.
        seed: of the head.
    """

    def __init__(
        self,
        backend: FeatureBackend,
        classes: int,
        norm: bool = True,
        dropout: float = 0.0,
        pooling: Pooling = "mean",
        freeze: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes: expected at least 2, found {classes}")
        self.backend: Any = backend
        self.pooling, self.freeze = pooling, freeze
        self.norm = nn.LayerNorm(backend.embed_dim, eps=1e-6) if norm else nn.Identity()
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(backend.embed_dim, classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            nn.init.trunc_normal_(self.head.weight, std=HEAD_STD)
        nn.init.zeros_(self.head.bias)
        self.train(self.training)

    def train(self, mode: bool = True) -> ClassificationProbe:
        """Set the mode; a frozen backend stays in evaluation mode."""
        super().train(mode)
        if self.freeze:
            self.backend.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C) of pictures (B, 3, H, W)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            features = pooled(self.backend.forward_features(images), self.pooling)
        return self.head(self.dropout(self.norm(features)))

    def parameter_groups(self, lr: float, encoder_lr: float) -> list[dict[str, Any]]:
        """What is trained: the head, and the encoder at a share of the head's learning rate."""
        groups = [{"params": [*self.norm.parameters(), *self.head.parameters()], "lr": lr}]
        trained = [p for p in self.backend.parameters() if p.requires_grad and not self.freeze]
        return [*groups, {"params": trained, "lr": encoder_lr * lr}] if trained else groups


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy with several labels (B, C), else cross-entropy with classes (B,) as one-hot rows."""
    if labels.ndim == 2:
        return F.binary_cross_entropy_with_logits(logits, labels.float())
    return F.cross_entropy(logits, F.one_hot(labels, logits.shape[1]).float())


def classification_metrics(logits: NDArray, labels: NDArray) -> dict[str, float]:
    """Measures of logits, by the kind of labels."""
    return multilabel_metrics(logits, labels) if labels.ndim == 2 else multiclass_metrics(logits, labels)


def shuffled_batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Places (B,) of one epoch; a last batch of a single one is left out, of which batch norms make nothing."""
    parts = torch.randperm(count, generator=generator).split(size)
    yield from parts[:-1] if len(parts) > 1 and len(parts[-1]) == 1 else parts


def logits_of(probe: nn.Module, inputs: Callable[[NDArray], Tensor], rows: NDArray, size: int) -> NDArray[np.float64]:
    """Logits (N, C) of some rows, in their order; the probe is then in evaluation mode.

    Args:
        probe: a classifier.
        inputs: what it takes, of up to `size` rows.
        rows: (N,).
        size: of the batches.
    """
    probe.eval()
    device = next(probe.parameters()).device
    with torch.no_grad():
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        return np.concatenate([probe(inputs(part).to(device)).double().cpu().numpy() for part in parts])


def fit_classification(
    backend: FeatureBackend,
    cases: Cases,
    splits: tuple[NDArray, NDArray, NDArray],
    recipe: ClassificationRecipe,
    seed: int = 0,
    device: str = "cpu",
) -> Outcome:
    """Train a probe on a copy of a backend and measure it.

    Args:
        backend: is left as it is.
        cases: with labels.
        splits: rows to train on, to validate and to test with; the last are looked at once, in the end.
        recipe: of the training.
        seed: of the head, the order and the crops.
        device: of torch.

    Returns:
        Measures of the test rows by the weights that were best on the validation rows: by macro AUROC of several
        labels, else by F1.

    Raises:
        ValueError: cases without labels.
    """
    labels = cases.labels
    if labels is None:
        raise ValueError(f"cases: expected labels, found those of {cases.kind}")
    probe = ClassificationProbe(
        copy.deepcopy(backend), len(cases.names), recipe.norm, recipe.dropout, recipe.pooling, recipe.freeze, seed
    ).to(device)
    generator = torch.Generator().manual_seed(seed)

    def training(rows: NDArray) -> Tensor:
        return recipe.pictures.training(cases.images[rows, 0], cases.mirrored, cases.grey, generator)

    def measuring(rows: NDArray) -> Tensor:
        return recipe.pictures.measuring(cases.images[rows, 0], cases.grey)

    return train_probe(probe, training, measuring, labels, splits, recipe, generator)


def train_probe(
    probe: ClassificationProbe,
    training: Callable[[NDArray], Tensor],
    measuring: Callable[[NDArray], Tensor],
    labels: NDArray,
    splits: tuple[NDArray, NDArray, NDArray],
    recipe: ClassificationRecipe,
    generator: torch.Generator,
) -> Outcome:
    """Train a probe and measure it; returns what `fit_classification` does.

    Args:
        probe: ends with the weights that were best on the validation rows.
        training: inputs of some rows to train on.
        measuring: inputs of some rows to measure with.
        labels: classes (N,), or 0 and 1 for each of several labels (N, C).
        splits: rows to train on, to validate and to test with.
        recipe: of the training.
        generator: a CPU generator of the order, whose first seed is that of what is dropped out too.
    """
    train, validation, test = splits
    measure = "auroc" if labels.ndim == 2 else "f1"
    device = next(probe.parameters()).device
    groups = probe.parameter_groups(recipe.lr, recipe.encoder_lr)
    optimizer = (
        torch.optim.Adam(groups, eps=1e-8)
        if recipe.optimizer == "adam"
        else torch.optim.SGD(groups, lr=recipe.lr, momentum=0.9)
    )
    schedule = WarmupCosineScheduler(optimizer, recipe.warmup_steps, recipe.total_steps)
    stopping, evaluations = EarlyStopping(recipe.patience), []
    targets = torch.from_numpy(labels[train]).long()

    def logits(rows: NDArray) -> NDArray[np.float64]:
        return logits_of(probe, measuring, rows, recipe.batch_size)

    def validated() -> float:
        found = logits(validation)
        if labels.ndim == 2:
            return multilabel_metrics(found, labels[validation])[measure]
        return multiclass_f1(found, labels[validation])

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        for epoch in range(1, recipe.epochs + 1):
            probe.train()
            for places in shuffled_batches(len(train), recipe.batch_size, generator):
                inputs = training(train[places.numpy()]).to(device)
                optimizer.zero_grad()
                with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
                    loss = classification_loss(probe(inputs), targets[places].to(device))
                loss.backward()
                nn.utils.clip_grad_norm_(probe.parameters(), recipe.clip_norm)
                optimizer.step()
                schedule.step()
            late = epoch - recipe.first_evaluation
            if (late >= 0 and late % recipe.evaluate_every == 0) or epoch == recipe.epochs:
                evaluations.append((epoch, validated()))
                stopping.update(evaluations[-1][1], probe)
            if stopping.stopped:
                break
    stopping.restore(probe)
    metrics = classification_metrics(logits(test), labels[test])
    return Outcome(measure, metrics, stopping.best, tuple(evaluations))
