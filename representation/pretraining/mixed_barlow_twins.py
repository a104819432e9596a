"""Mixed Barlow Twins: two views agree in each number, no number repeats another, and mixtures of pictures keep to it.

The correlations between the numbers of two views, over a batch, shall be the identity: no negatives, no large batch.
On few pictures this alone comes to fit the views too well. So a third network pass sees mixtures of the pictures of
one view with others of the other, and its vectors shall correlate with those of both views as the mixtures of their
vectors do.

Source: Guarding Barlow Twins Against Overfitting with Mixed Samples, Bandara et al., 2023 (arXiv 2312.02151). Takes
pictures (B, 3, H, W) in [0, 1], no labels; gives vectors (B, width). With `lambda_reg=0` it is Barlow Twins
(arXiv 2103.03230).

What differs from the paper: a small network; colours are changed little and pictures are not mirrored, since both tell
a robot something; the normalisations of the projector use the statistics of the batch in evaluation too, without which
the loss of mixtures means nothing; the step is that of the common training loop (AdamW with its warm-up and cosine), in
the place of Adam or LARS with learning rates that grow with the batch and end at a thousandth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import read_config
from representation.data.augmentations import random_view
from representation.data.frames import Frames
from representation.image_tower import Kind, TowerConfig, TowerEncoder, draw_weights, load_tower
from representation.interface import Loss
from representation.pretraining.small_encoder import SmallEncoder, load_small_encoder

SYSTEM = "mixed_barlow_twins"
SMALLEST_DEVIATION = 1e-5
# Of the published networks for small pictures.
SMALL_SIDE = 32  # pixels; twice as many with a max-pool
SMALL_MEAN, SMALL_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
NOT_WEIGHTS = ("num_batches_tracked", "total_ops", "total_params")


@dataclass(frozen=True)
class Config:
    """A run on two cores, on a few hundred to thousand frames.

    Attributes:
        resolution: side of the pictures, pixels.
        width: numbers of a vector.
        hidden: numbers of the projector's hidden layer; 512 in the paper.
        dim: numbers D that are compared; 1024 and more in the paper.
        lambda_bt: weight of correlations between different numbers; 1 / D if None, as there are so many of them.
        lambda_reg: weight of the mixtures, times `lambda_bt`.
        normalize_rows: whether the projector's outputs first get length 1, as in the paper for small pictures.
        smallest_crop: side of the smallest random square, as a share of the picture's.
        jitter: strength of the change of colours.
        grey: share of the views that lose their colour.
        blur: share of the views that are blurred.
        flip: share of the views that are mirrored.
    """

    resolution: int = 32
    width: int = 128
    hidden: int = 256
    dim: int = 256
    lambda_bt: float | None = None
    lambda_reg: float = 4.0
    normalize_rows: bool = True
    smallest_crop: float = 0.6
    jitter: float = 0.2
    grey: float = 0.0
    blur: float = 0.0
    flip: float = 0.0


def standardised(z: Tensor) -> Tensor:
    """Each number of (N, D) with mean 0 and standard deviation 1 (of N - 1 degrees of freedom) over the batch.

    A number that is the same everywhere becomes 0.
    """
    return (z - z.mean(dim=0)) / z.std(dim=0).clamp(min=SMALLEST_DEVIATION)


def cross_correlation(za: Tensor, zb: Tensor) -> Tensor:
    """Mean products (D, D) of the numbers of two standardised batches (N, D)."""
    return za.T @ zb / len(za)


def barlow_twins_loss(za: Tensor, zb: Tensor, lambda_bt: float) -> Loss:
    """How far the correlations are from the identity.

    Args:
        za: (N, D), standardised.
        zb: (N, D), standardised.
        lambda_bt: weight of what is beside the diagonal.

    Returns:
        At least D / N², as the diagonal reaches (N - 1) / N.
    """
    correlation = cross_correlation(za, zb)
    diagonal = correlation.diagonal()
    agreement = (diagonal - 1).square().sum()
    redundancy = correlation.square().sum() - diagonal.square().sum()
    return Loss(agreement + lambda_bt * redundancy, {"agreement": agreement, "redundancy": redundancy})


def mixing_loss(za: Tensor, zb: Tensor, zm: Tensor, alpha: Tensor | float, permutation: Tensor) -> Tensor:
    """How far mixtures are from correlating with both views as mixed vectors do; gradients reach all three.

    Args:
        za: (N, D) of view A, standardised.
        zb: (N, D) of view B, standardised.
        zm: (N, D) of `mixed(ya, yb, alpha, permutation)`, standardised.
        alpha: share of view A.
        permutation: (N,) rows of view B in the mixtures.
    """
    target = mixed(za, zb, alpha, permutation)
    return sum(
        ((cross_correlation(zm, z) - cross_correlation(target, z)).square().sum() for z in (za, zb)), za.new_zeros(())
    )


def mixed(a: Tensor, b: Tensor, alpha: Tensor | float, permutation: Tensor) -> Tensor:
    """Each row of one batch with one of the other: `alpha` of `a`, the rest of `b[permutation]`."""
    return alpha * a + (1 - alpha) * b[permutation]


class Projector(nn.Sequential):
    """Vectors (B, width) to what is compared, (B, D): two layers, normalised over the batch between them.

    Args:
        width: of the vectors.
        hidden: numbers between the layers.
        dim: numbers D.
        generator: draws the first weights.
    """

    def __init__(self, width: int, hidden: int, dim: int, generator: torch.Generator | None = None) -> None:
        norm = nn.BatchNorm1d(hidden, track_running_stats=False)
        super().__init__(nn.Linear(width, hidden, bias=False), norm, nn.ReLU(), nn.Linear(hidden, dim))
        draw_weights(self, generator)


class MixedBarlowTwins(nn.Module):
    """The loss on any encoder.

    Args:
        encoder: takes inputs to (B, width).
        projector: takes (B, width) to (B, D).
        lambda_bt: see `Config`; a number.
        lambda_reg: see `Config`; with 0 no mixtures are made.
        normalize_rows: see `Config`.
    """

    def __init__(
        self, encoder: nn.Module, projector: nn.Module, lambda_bt: float, lambda_reg: float, normalize_rows: bool = True
    ) -> None:
        super().__init__()
        self.encoder, self.projector = encoder, projector
        self._lambda_bt, self._lambda_reg, self._normalize_rows = lambda_bt, lambda_reg, normalize_rows

    def forward(self, ya: Tensor, yb: Tensor, alpha: Tensor, permutation: Tensor) -> Loss:
        """The loss of two views of a batch, mixed with one share and one permutation."""
        za, zb = self._projected(ya), self._projected(yb)
        loss = barlow_twins_loss(za, zb, self._lambda_bt)
        if self._lambda_reg == 0:
            return loss
        zm = self._projected(mixed(ya, yb, alpha, permutation))
        mixing = mixing_loss(za, zb, zm, alpha, permutation)
        total = loss.total + self._lambda_reg * self._lambda_bt * mixing
        return Loss(total, loss.parts | {"mixing": mixing})

    def _projected(self, inputs: Tensor) -> Tensor:
        z = self.projector(self.encoder(inputs)).float()
        return standardised(F.normalize(z, dim=1) if self._normalize_rows else z)


class MixedBarlowTwinsObjective(nn.Module):
    """The loss on pictures.

    Args:
        config: all of it.
        generator: draws the first weights.
    """

    needs = ()

    def __init__(self, config: Config, generator: torch.Generator) -> None:
        super().__init__()
        self._config = config
        lambda_bt = 1 / config.dim if config.lambda_bt is None else config.lambda_bt
        encoder = SmallEncoder(SYSTEM, config, generator)
        projector = Projector(config.width, config.hidden, config.dim, generator)
        self.twins = MixedBarlowTwins(encoder, projector, lambda_bt, config.lambda_reg, config.normalize_rows)

    @property
    def encoder(self) -> SmallEncoder:
        """What is trained."""
        return self.twins.encoder

    def batch(self, frames: Frames, rows: NDArray, generator: torch.Generator) -> dict[str, Tensor]:
        """Two views (B, 3, R, R) of each picture, and how they are mixed."""
        config, pixels = self._config, frames.pixels(rows)
        views = [
            random_view(
                pixels,
                config.resolution,
                generator,
                smallest_crop=config.smallest_crop,
                jitter=config.jitter,
                grey=config.grey,
                blur=config.blur,
                flip=config.flip,
            )
            for _ in range(2)
        ]
        return {"a": views[0], "b": views[1]} | draw_mixture(len(rows), generator)

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """The loss of a batch."""
        with torch.autocast(batch["a"].device.type, enabled=False):  # sums of squares of D² correlations
            return self.twins(batch["a"], batch["b"], batch["alpha"], batch["permutation"])


def draw_mixture(count: int, generator: torch.Generator) -> dict[str, Tensor]:
    """`alpha`, one uniform share for a whole batch, and its `permutation` (count,)."""
    return {"alpha": torch.rand((), generator=generator), "permutation": torch.randperm(count, generator=generator)}


def new(config: Config, frames: Frames, seed: int) -> MixedBarlowTwinsObjective:
    """An untrained encoder with its projector."""
    return MixedBarlowTwinsObjective(config, torch.Generator().manual_seed(seed))


def load(directory: Path) -> SmallEncoder | TowerEncoder:
    """Read an encoder that was saved: of a run, or of `load_released`.

    Raises:
        ValueError: damaged; names the file.
    """
    if "kind" in read_config(directory)["config"]:
        return load_tower(directory)
    return load_small_encoder(SYSTEM, Config, directory)


def load_released(path: Path) -> tuple[TowerEncoder, Projector | None]:
    """The encoder, and the projector if there is one, of a published network.

    Those for small pictures have a residual network of 18 or 50 layers as `f` and a projector as `g`; that for large
    ones is a residual network of 50 layers under torchvision's names. Vectors are not brought to length 1.

    Args:
        path: a `.pth` file with a state dict, or one of safetensors with the same names.

    Raises:
        ValueError: a tensor is missing, unknown or of another shape.
    """
    raw = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    state = {name.removeprefix("module."): value.float() for name, value in dict(raw).items()}
    state = {name: value for name, value in state.items() if not name.endswith(NOT_WEIGHTS)}
    head = {name.removeprefix("g."): state.pop(name) for name in list(state) if name.startswith("g.")}
    is_small = "f.0.weight" in state
    pooled = not any(name.startswith("f.3.") for name in state)  # a max-pool has no weights, but a number
    if is_small:
        children = ("conv1", "bn1", "relu", *(("maxpool",) if pooled else ()), "layer1", "layer2", "layer3", "layer4")
        names = {name: _renamed(name, children) for name in state}
        state = {names[name]: value for name, value in state.items()}
    kind: Kind = "resnet50" if "layer1.0.conv3.weight" in state else "resnet18"
    try:
        if is_small:
            side = 2 * SMALL_SIDE if pooled else SMALL_SIDE
            config = TowerConfig(kind, 64, side, "small", pooled, mean=SMALL_MEAN, std=SMALL_STD)
        else:
            config = TowerConfig(kind, 64, 224, "large", pool=True)
        encoder = TowerEncoder(config, SYSTEM)
        missing, unexpected = encoder.tower.load_state_dict(state, strict=False)
        missing = [name for name in missing if not name.endswith("num_batches_tracked")]
        if missing or unexpected:
            raise ValueError(f"{missing=}, {unexpected=}")
        projector = None
        if head:
            hidden, width = head["0.weight"].shape
            projector = Projector(width, hidden, len(head["3.weight"]))
            projector.load_state_dict({name: value for name, value in head.items() if "running" not in name})
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected a published network of Mixed Barlow Twins, found another: {error}"
        ) from error
    return encoder.eval(), projector


def _renamed(name: str, children: tuple[str, ...]) -> str:
    """Torchvision's name of a tensor of `f`, which numbers the network's children."""
    number, _, rest = name.removeprefix("f.").partition(".")
    return f"{children[int(number)]}.{rest}" if number.isdecimal() and int(number) < len(children) else name
