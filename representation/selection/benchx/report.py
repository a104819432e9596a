"""Reports: how a generator is trained on the features of a frozen encoder, and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.selection.benchx.backends import FeatureBackend, batch_first, evaluating
from representation.selection.benchx.cases import Cases
from representation.selection.benchx.outcome import Outcome
from representation.selection.benchx.picture_transforms import PictureTransform
from representation.selection.benchx.report_generator import ReportGenerator, ReportSizes
from representation.selection.benchx.schedules import EarlyStopping
from representation.selection.benchx.text_metrics import text_metrics
from representation.selection.benchx.vocabulary import END, Vocabulary, words_of

MOST_PLACES = 14
"""On a side of a map of patch features; larger maps are averaged to it."""


@dataclass(frozen=True)
class ReportRecipe:
    """How a generator is trained; the defaults are the published ones.

    Attributes:
        lr: of Adam with the largest second moments.
        weight_decay: likewise.
        batch_size: cases of a step.
        epochs: at most.
        patience: epochs without a better BLEU-4 after which training ends.
        least_words: occurrences of a word that is known.
        beam: reports that are kept while one is written.
        block_trigrams: whether no three words may follow each other twice in a report; reports of scenes do that.
        clip_value: largest entry of the gradient.
        sizes: of the generator.
        pictures: their preprocessing; crops are not drawn, as the encoder's features are computed once.
    """

    lr: float = 1e-3
    weight_decay: float = 5e-5
    batch_size: int = 16
    epochs: int = 100
    patience: int = 10
    least_words: int = 3
    beam: int = 3
    block_trigrams: bool = True
    clip_value: float = 0.1
    sizes: ReportSizes = field(default_factory=ReportSizes)
    pictures: PictureTransform = field(default_factory=PictureTransform)


def patch_features(backend: FeatureBackend, images: Tensor) -> Tensor:
    """Features (B, V N, D) of the patches of all views, one view after the other, by a frozen backend.

    Args:
        backend: whose coarsest map is taken.
        images: (B, V, 3, H, W).
    """
    with evaluating(backend):
        maps = backend.feature_pyramid(images.flatten(0, 1))[-1]
    if max(maps.shape[-2:]) > MOST_PLACES:
        maps = F.adaptive_avg_pool2d(maps, MOST_PLACES)
    tokens = batch_first(maps)
    tokens = tokens[:, None] if tokens.ndim == 2 else tokens
    return tokens.unflatten(0, images.shape[:2]).flatten(1, 2)


def _features(backend: FeatureBackend, cases: Cases, recipe: ReportRecipe, device: str) -> Tensor:
    found = []
    for start in range(0, len(cases), recipe.batch_size):
        images = cases.images[start : start + recipe.batch_size]
        pixels = recipe.pictures.measuring(images.reshape(-1, *images.shape[2:]), cases.grey)
        found.append(patch_features(backend, pixels.unflatten(0, images.shape[:2]).to(device)))
    return torch.cat(found)


def padded(reports: Sequence[Sequence[int]]) -> Tensor:
    """Numbers (B, L) of reports, filled up with `END`."""
    longest = max(map(len, reports))
    return torch.tensor([[*report, *[END] * (longest - len(report))] for report in reports])


def report_scores(
    model: ReportGenerator, features: Tensor, reports: Sequence[str], recipe: ReportRecipe
) -> dict[str, float]:
    """BLEU-1 to BLEU-4, ROUGE-L and METEOR of generated reports against the true ones."""
    told = [
        words
        for part in features.split(recipe.batch_size)
        for words in model.generate(part, recipe.beam, recipe.block_trigrams)
    ]
    return text_metrics(told, [words_of(report)[: model.sizes.longest] for report in reports])


def fit_report(
    backend: FeatureBackend,
    cases: Cases,
    splits: tuple[NDArray, NDArray, NDArray],
    recipe: ReportRecipe,
    seed: int = 0,
    device: str = "cpu",
) -> Outcome:
    """Train a generator on the features of a backend, which stays as it is; arguments as of `fit_classification`.

    Returns:
        Measures of the test rows by the weights with the largest BLEU-4 of the validation rows.

    Raises:
        ValueError: cases without reports.
    """
    train, validation, test = splits
    if not cases.reports:
        raise ValueError(f"cases: expected reports, found those of {cases.kind}")
    vocabulary = Vocabulary([cases.reports[row] for row in train], recipe.least_words)
    if isinstance(backend, nn.Module):
        backend = backend.to(device)
    features = _features(backend, cases, recipe, device)
    words = padded([vocabulary.encode(cases.reports[row], recipe.sizes.longest) for row in train]).to(device)
    model = ReportGenerator(vocabulary, features.shape[2], recipe.sizes, seed).to(device)
    optimizer = torch.optim.Adam(model.parameters(), recipe.lr, weight_decay=recipe.weight_decay, amsgrad=True)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.8, patience=1, min_lr=1e-6, threshold_mode="abs"
    )
    stopping, evaluations = EarlyStopping(recipe.patience), []
    generator = torch.Generator().manual_seed(seed)

    def scores(rows: NDArray) -> dict[str, float]:
        reports = [cases.reports[row] for row in rows]
        return report_scores(model, features[torch.from_numpy(rows).to(device)], reports, recipe)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in range(1, recipe.epochs + 1):
            model.train()
            for places in torch.randperm(len(train), generator=generator).split(recipe.batch_size):
                chosen = torch.from_numpy(np.ascontiguousarray(train[places.numpy()])).to(device)
                optimizer.zero_grad()
                model.loss(features[chosen], words[places.to(device)]).backward()
                nn.utils.clip_grad_value_(model.parameters(), recipe.clip_value)
                optimizer.step()
            found = scores(validation)
            evaluations.append((epoch, found["bleu_4"]))
            stopping.update(found["bleu_4"], model)
            schedule.step(found["bleu_4"])
            if stopping.stopped:
                break
    stopping.restore(model)
    return Outcome("bleu_4", scores(test), stopping.best, tuple(evaluations))
