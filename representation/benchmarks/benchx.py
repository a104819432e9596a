"""Does the protocol of BenchX rank encoders by what they are, and do all three of its heads learn?

Handwritten digits under a linear head: four encoders that differ in how they were made. Recipe U is one for all, which
trains the encoders too, as published; recipe V has the learning rate of one of them, of the first by U, a hundred times
as high. What frozen encoders come to is told beside it.
Scenes of `sim.reported_scenes` in `runs/reported`, 96 px, 200 pictures to train on, under UPerNet with a small network
of convolutions; the baseline tells the most frequent class everywhere. A report generator that is shown eight cases
until it knows them by heart.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau
from sklearn.decomposition import PCA
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.digit_encoders import CLASSES, OLD_CLASSES, all_digits, train
from representation.data.frames import open_frames
from representation.selection.benchx.cases import Cases, cases_of_frames
from representation.selection.benchx.classification import ClassificationRecipe
from representation.selection.benchx.metrics import confusion, segmentation_metrics
from representation.selection.benchx.picture_transforms import PictureTransform
from representation.selection.benchx.report import padded
from representation.selection.benchx.report_generator import ReportGenerator, ReportSizes
from representation.selection.benchx.runner import BenchmarkConfig, BenchmarkRunner
from representation.selection.benchx.segmentation import SegmentationRecipe, fit_segmentation
from representation.selection.benchx.splits import TEST, TRAIN, VALIDATION, random_splits, stratified_splits
from representation.selection.benchx.table import BenchmarkTable
from representation.selection.benchx.text_metrics import corpus_bleu
from representation.selection.benchx.vocabulary import Vocabulary, words_of

SIDE, WIDTH, COMPONENTS, NOISE, PRETRAINING_EPOCHS = 8, 64, 24, 0.3, 30
FEW, BAD_FACTOR = 0.1, 100.0
# Ten times the largest published learning rate: 10 % of the digits are four batches, and an epoch so many steps.
UNIFIED = ClassificationRecipe(lr=5e-3, batch_size=32, epochs=40, pictures=PictureTransform(SIDE, 1.0, normalise=False))
SCENES, TRAINED_SCENES, HELD_OUT_SCENES, STEPS = "reported", 100, 40, 300  # two pictures of each scene
CORPUS = (
    "the red cube is left of the blue ball . the gripper is open .",
    "the blue ball is behind the green cylinder . the gripper is closed .",
    "the green cylinder is in front of the yellow cube . the gripper is open .",
    "the yellow cube is right of the purple ball . the gripper holds the red cube .",
    "the purple ball is on the table . the gripper is closed .",
    "the orange cylinder is left of the red cube . the gripper is open .",
    "the red ball is behind the orange cube . the gripper holds the blue ball .",
    "the green cube is on the table . the gripper is open .",
)
LEARNT_STEPS, MOST_MINUTES = 80, 3.0


class DigitConvolutions(nn.Module):
    """A backend of digits (B, 3, 8, 8): three convolutions, and their mean over all places as in residual networks."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.embed_dim = WIDTH
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            widths, strides = (3, 32, WIDTH, WIDTH), (1, 2, 1)
            layers = [
                nn.Sequential(nn.Conv2d(before, after, 3, stride, 1), nn.ReLU())
                for before, after, stride in zip(widths, widths[1:], strides, strict=False)
            ]
            self.maps = nn.Sequential(*layers)

    def forward_features(self, images: Tensor) -> Tensor:
        """Vectors (B, 64)."""
        return self.maps(images).mean(dim=(2, 3))

    def feature_pyramid(self, images: Tensor) -> list[Tensor]:
        """One map."""
        return [self.maps(images)]


class DigitComponents(nn.Module):
    """A backend that tells principal components of digits; has nothing to train."""

    def __init__(self, x: NDArray) -> None:
        super().__init__()
        self.embed_dim = COMPONENTS
        found = PCA(COMPONENTS, random_state=0).fit(x)
        self.register_buffer("mean", torch.from_numpy(found.mean_).float())
        self.register_buffer("components", torch.from_numpy(found.components_).float())

    def forward_features(self, images: Tensor) -> Tensor:
        """Vectors (B, 24)."""
        return (images[:, 0].flatten(1) - self.mean) @ self.components.T

    def feature_pyramid(self, images: Tensor) -> list[Tensor]:
        """A map of one place."""
        return [self.forward_features(images)[:, :, None, None]]


def digit_backends(x: Tensor, y: Tensor, epochs: int) -> dict[str, nn.Module]:
    """Four backends, made of training digits (N, 3, 8, 8)."""
    half, denoising = DigitConvolutions(1), DigitConvolutions(2)
    known = y < OLD_CLASSES
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        classify, decode = nn.Linear(WIDTH, OLD_CLASSES), nn.Linear(WIDTH, SIDE**2)
    train(
        [*half.parameters(), *classify.parameters()],
        lambda rows: F.cross_entropy(classify(half.forward_features(x[known][rows])), y[known][rows]),
        int(known.sum()),
        0,
        epochs,
    )
    noise = torch.Generator().manual_seed(4)

    def restored(rows: Tensor) -> Tensor:
        noisy = x[rows] + NOISE * torch.randn(len(rows), 1, SIDE, SIDE, generator=noise)
        return F.mse_loss(decode(denoising.forward_features(noisy)), x[rows, 0].flatten(1))

    train([*denoising.parameters(), *decode.parameters()], restored, len(y), 0, epochs)
    return {
        "random": DigitConvolutions(0),
        "principal components": DigitComponents(x[:, 0].flatten(1).numpy()),
        "half of the classes": half,
        "denoising": denoising,
    }


def digit_tables(options: BenchOptions) -> tuple[BenchmarkTable, BenchmarkTable, BenchmarkTable]:
    """Tables over the seeds: of recipe U, of recipe V, and of U with frozen encoders."""
    x, y = all_digits()
    images = (255 * x).round().to(torch.uint8).view(-1, 1, SIDE, SIDE, 1).expand(-1, -1, -1, -1, 3).numpy()
    cases = Cases(np.ascontiguousarray(images), labels=y.numpy(), names=tuple(map(str, range(CLASSES))))
    rows = torch.from_numpy(stratified_splits(y.numpy(), fractions=(FEW,))[TRAIN])
    pictures = x[rows].view(-1, 1, SIDE, SIDE).expand(-1, 3, -1, -1)
    backends = digit_backends(pictures, y[rows], options.steps(PRETRAINING_EPOCHS))
    recipe, seeds = replace(UNIFIED, epochs=options.steps(UNIFIED.epochs)), tuple(range(options.seeds))

    def table(names: Iterable[str], recipe: ClassificationRecipe) -> BenchmarkTable:
        config = BenchmarkConfig(classification=recipe, fractions=(FEW,))
        return BenchmarkRunner(config).run({name: backends[name] for name in names}, {"digits": cases}, seeds)

    unified, frozen = table(backends, recipe), table(backends, replace(recipe, freeze=True))
    best = unified.ranking()[0][0]
    spoilt = table([best], replace(recipe, lr=BAD_FACTOR * recipe.lr))
    # The others are trained as before, so they need not be trained again.
    varied = BenchmarkTable([*(run for run in unified.runs if run.backend != best), *spoilt.runs])
    return unified, varied, frozen


def digit_claims(options: BenchOptions) -> Iterator[Claim]:
    """How rankings depend on the recipe and on seeds, and what the best backend is worth."""
    unified, varied, frozen = digit_tables(options)

    def few(table: BenchmarkTable, name: str) -> tuple[float, ...]:
        return tuple(map(float, table.values(name, "digits", FEW)))

    def places(table: BenchmarkTable, seed: int) -> list[float]:
        found = dict(table.ranking(seed=seed))
        return [found[name] for name in unified.backends]

    taus = tuple(-float(kendalltau(places(unified, seed), places(varied, seed))[0]) for seed in unified.seeds)
    best, steady = unified.ranking()[0][0], frozen.ranking()[0][0]
    always = (1.0,) * options.seeds
    yield Claim(
        "digits: Kendall's tau of the rankings by recipe U and by V, which spoils one encoder, negated",
        "0.99, negated",
        taus,
        tuple(-0.99 * value for value in always),
    )
    yield Claim(
        f"digits: whether {best} is the first by recipe U with this seed",
        "always",
        tuple(float(unified.ranking(seed=seed)[0][0] == best) for seed in unified.seeds),
        always,
    )
    task = "10 % of the digits: F1 of"
    yield Claim(f"{task} {best}, first by recipe U", "random weights", few(unified, best), few(unified, "random"), 0.05)
    yield Claim(
        f"{task} {steady}, first by U but frozen", "random weights", few(frozen, steady), few(frozen, "random"), None
    )
    for name in unified.backends:
        yield Claim(f"{task} {name}, recipe U", "frozen", few(unified, name), few(frozen, name), None)
    yield Claim(f"{task} {best}, recipe U", "recipe V", few(unified, best), few(varied, best), None)


class SceneConvolutions(nn.Module):
    """A backend of scenes (B, 3, S, S): maps of a quarter of the side, and of half as much twice."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.embed_dim = 64
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.stem = nn.Sequential(*_stage(3, 16), *_stage(16, 24))
            self.stages = nn.ModuleList([nn.Sequential(*_stage(24, 48)), nn.Sequential(*_stage(48, 64))])

    def feature_pyramid(self, images: Tensor) -> list[Tensor]:
        """Three maps."""
        maps = [self.stem(2 * images - 1)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps

    def forward_features(self, images: Tensor) -> Tensor:
        """Vectors (B, 64)."""
        return self.feature_pyramid(images)[-1].mean(dim=(2, 3))


def _stage(channels: int, out: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, out, 3, 2, 1), nn.GroupNorm(8, out), nn.ReLU()]


def scene_claims(options: BenchOptions) -> Iterator[Claim]:
    """Mean Dice beside what is asked and beside the most frequent class."""
    frames = open_frames(options.data.parent / SCENES)
    cases = cases_of_frames(frames, "segmentation")
    rows = random_splits(len(cases), fractions=())
    splits = (rows[TRAIN][:TRAINED_SCENES], rows[VALIDATION][:HELD_OUT_SCENES], rows[TEST])
    steps = options.steps(STEPS)
    recipe = SegmentationRecipe(
        channels=32,
        auxiliary_channels=32,
        lr=2e-3,
        steps=steps,
        warmup_steps=steps // 10,
        evaluate_every=100,
        pictures=PictureTransform(frames.images.shape[1], 1.0, normalise=False),
    )
    found = tuple(
        fit_segmentation(SceneConvolutions(seed), cases, splits, recipe, seed).value for seed in range(options.seeds)
    )
    masks = np.asarray(cases.masks)
    common, truth = int(np.bincount(masks[splits[0]].ravel()).argmax()), masks[splits[2]]
    counts = confusion(np.full_like(truth, common), truth, len(cases.names))
    majority = segmentation_metrics(counts).means()["mdice"]
    claim = "scenes: mean Dice of everything else, object and gripper, UPerNet"
    yield Claim(claim, "asked", found, (0.85,) * options.seeds)
    yield Claim(claim, "the most frequent class", found, (majority,) * options.seeds, 0.10)


def learnt_by_heart(seed: int, steps: int) -> tuple[float, float]:
    """BLEU-4 of eight reports that were trained on, written greedily, and the CPU minutes that it took."""
    began = time.process_time()
    vocabulary = Vocabulary(CORPUS, least=1)
    features = torch.randn(len(CORPUS), 8, 32, generator=torch.Generator().manual_seed(seed))
    words = padded([vocabulary.encode(report) for report in CORPUS])
    model = ReportGenerator(vocabulary, 32, ReportSizes(width=128, feedforward=128), seed)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, weight_decay=5e-5, amsgrad=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(steps):
            model.train()
            optimizer.zero_grad()
            model.loss(features, words).backward()
            nn.utils.clip_grad_value_(model.parameters(), 0.1)
            optimizer.step()
    told = model.generate(features, beam=1, block_trigrams=False)
    score = corpus_bleu(told, [words_of(report) for report in CORPUS])
    return score, (time.process_time() - began) / 60


def report_claims(options: BenchOptions) -> Iterator[Claim]:
    """Whether the generator learns by heart."""
    found = [learnt_by_heart(seed, options.steps(LEARNT_STEPS)) for seed in range(options.seeds)]
    scores, minutes = zip(*found, strict=True)
    yield Claim("eight reports learnt by heart: BLEU-4, greedily", "asked", scores, (0.95,) * options.seeds)
    yield Claim(
        "eight reports learnt by heart: CPU minutes, negated",
        "asked, negated",
        tuple(-value for value in minutes),
        (-MOST_MINUTES,) * options.seeds,
    )


def run(options: BenchOptions) -> list[Claim]:
    """All of it."""
    return [*report_claims(options), *digit_claims(options), *scene_claims(options)]
