"""MoCHi: momentum contrast in which each query also meets hard negatives that are mixed on the sphere.

Two views of a picture become a query and a key; all other keys of a long queue are negatives. Late in training nearly
all of them are far away, so harder ones are made of the hardest: mixtures of two of them, and of one and the query.
The encoder that comes out tells frames apart that look alike: the same table, the same arm, millimetres between them.

Source: Hard Negative Mixing for Contrastive Learning, Kalantidis et al., NeurIPS 2020 (arXiv 2010.01028), on MoCo v2
(arXiv 2003.04297). Takes pictures (B, 3, H, W) in [0, 1], no labels; gives vectors (B, width). With `n_mix=0` and
`n_query_mix=0` it is MoCo v2. `HardNegativeMixer` serves any loss with a bank of negatives.

What differs from the paper: a small network without batch normalisation, so that keys need no shuffling; pictures are
not mirrored unless asked for; the step is that of the common training loop (AdamW). On several processes the queue
holds the keys of the first.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.data.augmentations import random_view
from representation.data.frames import Frames
from representation.image_tower import draw_weights
from representation.interface import Loss
from representation.pretraining.small_encoder import SmallEncoder, load_small_encoder


@dataclass(frozen=True)
class Config:
    """A run on two cores, on a few thousand frames; the paper has queues of 16,384 and 65,536.

    Attributes:
        resolution: side of the pictures, pixels.
        width: numbers of a vector.
        dim: numbers D of what queries and keys are compared by.
        queue_size: number K of keys, a multiple of the batch.
        momentum: of the key encoder.
        temperature: of the similarities.
        n_hard: number N of hardest keys that are mixed.
        n_mix: number s of mixtures of two of them.
        n_query_mix: number s' of mixtures of one with the query.
        beta_max: largest share of the query in these.
        warmup_batches: batches before the first mixtures; until the queue is full it holds random vectors.
        smallest_crop: side of the smallest random square, as a share of the picture's.
        jitter: strength of the change of colours.
        grey: share of the views that lose their colour.
        blur: share of the views that are blurred.
        flip: share of the views that are mirrored.
    """

    resolution: int = 32
    width: int = 128
    dim: int = 64
    queue_size: int = 1024
    momentum: float = 0.99
    temperature: float = 0.2
    n_hard: int = 128
    n_mix: int = 128
    n_query_mix: int = 32
    beta_max: float = 0.5
    warmup_batches: int = 100
    smallest_crop: float = 0.6
    jitter: float = 0.4
    grey: float = 0.2
    blur: float = 0.5
    flip: float = 0.0


@dataclass(frozen=True)
class HardNegativeMixer:
    """Makes negatives out of the hardest ones of a queue.

    Attributes:
        n_hard: number N of hardest keys of each query.
        n_mix: number s of mixtures of two of them, drawn with replacement, in any ratio.
        n_query_mix: number s' of mixtures of one of them with the query.
        beta_max: largest share of the query.
    """

    n_hard: int
    n_mix: int
    n_query_mix: int
    beta_max: float = 0.5

    def __post_init__(self) -> None:
        if self.n_hard < 1 or self.n_mix < 0 or self.n_query_mix < 0:
            found = self.n_hard, self.n_mix, self.n_query_mix
            raise ValueError(f"n_hard, n_mix, n_query_mix: expected at least 1, 0, 0, found {found}")
        if not 0 <= self.beta_max <= 0.5:
            raise ValueError(f"beta_max: expected at most half of a mixture, found {self.beta_max}")

    @torch.no_grad()
    def __call__(
        self, q: Tensor, queue: Tensor, generator: torch.Generator, similarities: Tensor | None = None
    ) -> Tensor:
        """Synthetic negatives, constants.

        Args:
            q: (B, D) unit vectors.
            queue: (K, D) unit vectors, no positives among them.
            generator: a CPU generator of indices and shares.
            similarities: (B, K) of queries and queue, of any scale, if they are known; -inf keeps a key out.

        Returns:
            (B, s + s', D) unit vectors: first the mixtures of two keys, then those with the query.

        Raises:
            ValueError: the queue is shorter than N.
        """
        if len(queue) < self.n_hard:
            raise ValueError(f"n_hard: expected at most the {len(queue)} keys of the queue, found {self.n_hard}")
        similarities = q @ queue.T if similarities is None else similarities
        hardest = similarities.topk(self.n_hard, dim=1).indices

        def draw(count: int) -> Tensor:
            places = torch.randint(self.n_hard, (len(q), count), generator=generator)
            return queue[hardest.gather(1, places.to(q.device))]

        def share(count: int, largest: float) -> Tensor:
            return largest * torch.rand(len(q), count, 1, generator=generator).to(q)

        alpha, beta = share(self.n_mix, 1.0), share(self.n_query_mix, self.beta_max)
        mixed = alpha * draw(self.n_mix) + (1 - alpha) * draw(self.n_mix)
        with_query = beta * q[:, None] + (1 - beta) * draw(self.n_query_mix)
        return F.normalize(torch.cat([mixed, with_query], dim=1), dim=-1)


def mochi_logits(
    q: Tensor,
    k: Tensor,
    queue: Tensor,
    mixer: HardNegativeMixer | None,
    tau: float,
    generator: torch.Generator,
    excluded: Tensor | None = None,
) -> Tensor:
    """Similarities by `tau`: of each query to its key, to the queue, and to its synthetic negatives.

    Args:
        q: (B, D) unit vectors.
        k: (B, D) unit vectors, constants.
        queue: (K, D) unit vectors, constants.
        mixer: makes s + s' negatives for each query; None for MoCo.
        tau: temperature.
        generator: a CPU generator for the mixer.
        excluded: (B, K), keys that are no negatives of a query; for the class oracle, those of its class.

    Returns:
        (B, 1 + K + s + s').
    """
    positive, negative = (q * k).sum(dim=1, keepdim=True), q @ queue.T
    if excluded is not None:
        negative = negative.masked_fill(excluded, -torch.inf)
    columns = [positive, negative]
    if mixer is not None:
        synthetic = mixer(q.detach(), queue, generator, negative.detach())
        columns.append((synthetic @ q[:, :, None]).squeeze(2))
    return torch.cat(columns, dim=1) / tau


def mochi_loss(logits: Tensor) -> Loss:
    """Cross-entropy of telling the key, and how often it is not the most similar of all (1 - proxy accuracy).

    Args:
        logits: of `mochi_logits`.
    """
    own = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    missed = (logits[:, 1:].max(dim=1).values >= logits[:, 0]).float().mean()
    return Loss(F.cross_entropy(logits, own), {"missed_key": missed})


def matching_probabilities(logits: Tensor) -> Tensor:
    """How few negatives matter: mean probability (N,) of the most similar negative, the next one, and so on."""
    return logits.softmax(dim=1)[:, 1:].sort(dim=1, descending=True).values.mean(dim=0)


def false_negative_rate(q: Tensor, labels: Tensor, queue: Tensor, queue_labels: Tensor, n_hard: int) -> float:
    """Share of the queries' classes (B,) among the classes (K,) of their hardest negatives."""
    hardest = (q @ queue.T).topk(n_hard, dim=1).indices
    return float((queue_labels[hardest] == labels[:, None]).float().mean())


class MoCo(nn.Module):
    """Momentum contrast: an encoder that learns, a copy that follows it, and a queue of the copy's keys.

    Args:
        encoder: takes inputs to (B, width).
        width: of its vectors.
        dim: numbers D of queries and keys.
        queue_size: number K of keys.
        momentum: weight of its past in the copy.
        generator: draws the first weights of the head and the first queue.

    Attributes:
        queue: (K, D) unit vectors; the next ones go to `pointer`.
    """

    queue: Tensor
    pointer: Tensor

    def __init__(
        self, encoder: nn.Module, width: int, dim: int, queue_size: int, momentum: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, dim))
        draw_weights(self.head, generator)
        self.key = copy.deepcopy(nn.Sequential(encoder, self.head)).requires_grad_(False)
        self._momentum = momentum
        self.register_buffer("queue", F.normalize(torch.randn(queue_size, dim, generator=generator), dim=1))
        self.register_buffer("pointer", torch.tensor(0))

    def queries(self, inputs: Tensor) -> Tensor:
        """Unit vectors (B, D) float32 of one view, with gradients."""
        return F.normalize(self.head(self.encoder(inputs)).float(), dim=1)

    @torch.no_grad()
    def keys(self, inputs: Tensor) -> Tensor:
        """Unit vectors (B, D) float32 of the other view, constants."""
        return F.normalize(self.key(inputs).float(), dim=1)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the copy's parameters towards the encoder's. Buffers of a normalisation stay its own."""
        trained = [*self.encoder.parameters(), *self.head.parameters()]
        torch._foreach_lerp_(list(self.key.parameters()), trained, 1 - self._momentum)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Put keys (B, D) in the place of the oldest.

        Raises:
            ValueError: the queue is no multiple of B.
        """
        if len(self.queue) % len(keys):
            raise ValueError(f"queue_size: expected a multiple of the batch of {len(keys)}, found {len(self.queue)}")
        first = int(self.pointer)
        self.queue[first : first + len(keys)] = keys
        self.pointer.fill_((first + len(keys)) % len(self.queue))


class MochiObjective(nn.Module):
    """Two views of each picture find each other among keys of others and mixtures of these.

    Args:
        config: all of it.
        generator: draws the first weights and the first queue.
    """

    needs = ()

    def __init__(self, config: Config, generator: torch.Generator) -> None:
        super().__init__()
        self._config = config
        encoder = SmallEncoder("mochi", config, generator)
        self.moco = MoCo(encoder, config.width, config.dim, config.queue_size, config.momentum, generator)
        self._mixer = HardNegativeMixer(config.n_hard, config.n_mix, config.n_query_mix, config.beta_max)
        self.register_buffer("batches", torch.tensor(0))

    @property
    def encoder(self) -> SmallEncoder:
        """What is trained."""
        return self.moco.encoder

    def batch(self, frames: Frames, rows: NDArray, generator: torch.Generator) -> dict[str, Tensor]:
        """Two views (B, 3, R, R) of each picture, and a seed for the mixtures."""
        pixels = frames.pixels(rows)
        config = self._config
        views = {
            name: random_view(
                pixels,
                config.resolution,
                generator,
                smallest_crop=config.smallest_crop,
                jitter=config.jitter,
                grey=config.grey,
                blur=config.blur,
                flip=config.flip,
            )
            for name in ("query", "key")
        }
        return views | {"seed": torch.randint(2**62, (), generator=generator)}

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """The loss; in training the key encoder first follows, and the keys then join the queue."""
        moco, config = self.moco, self._config
        if self.training:
            moco.follow()
        q, k = moco.queries(batch["query"]), moco.keys(batch["key"])
        mixer = self._mixer if int(self.batches) >= config.warmup_batches else None
        generator = torch.Generator().manual_seed(int(batch["seed"]))
        with torch.autocast(q.device.type, enabled=False):
            # A copy, since the queue changes before the backward pass.
            loss = mochi_loss(mochi_logits(q, k, moco.queue.clone(), mixer, config.temperature, generator))
        if self.training:
            moco.enqueue(k)
            self.batches += 1
        return loss


def new(config: Config, frames: Frames, seed: int) -> MochiObjective:
    """An untrained encoder with its copy and queue."""
    return MochiObjective(config, torch.Generator().manual_seed(seed))


def load(directory: Path) -> SmallEncoder:
    """Read an encoder that was saved.

    Raises:
        ValueError: damaged; names the file.
    """
    return load_small_encoder("mochi", Config, directory)
