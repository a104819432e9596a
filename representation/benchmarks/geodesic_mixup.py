"""Does geodesic mixup close the gap between two kinds of inputs, and keep what was learned?

Upper and lower halves of handwritten digits, each with an encoder of its own: two layers, 32-128-32. Both are trained
together for 20 epochs and then fine-tuned for 30, with no mixtures (the baseline) or with mixtures of some weight, from
the same weights and in the same order. The claims of m²-Mix (arXiv 2203.03897): the gap falls, recall does not, and the
vectors fill the sphere more evenly where the weight is large.
"""

from __future__ import annotations

import copy

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.hypersphere import modality_gap, relative_alignment, retrieval_recall, uniformity
from representation.pretraining.geodesic_mixup import MixupSettings, finetune

TRAINING, HALF = 1200, 32
PRETRAINING_EPOCHS, EPOCHS = 20, 30
PRETRAINING_LR, LR = 1e-3, 5e-4
WEIGHTS = (0.0, 0.01, 0.1, 0.5)


def halves(seed: int) -> tuple[Tensor, Tensor]:
    """Upper and lower halves (N, 32) of all digits, in [0, 1], shuffled."""
    images = torch.tensor(load_digits().images, dtype=torch.float32) / 16
    images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))]
    return images[:, :4].flatten(1), images[:, 4:].flatten(1)


def new_encoder(generator: torch.Generator) -> nn.Module:
    """Two layers, 32-128-32."""
    layers = nn.Sequential(nn.Linear(HALF, 128), nn.ReLU(), nn.Linear(128, 32))
    for layer in (layers[0], layers[2]):
        for parameter in (layer.weight, layer.bias):
            nn.init.uniform_(parameter, -(layer.in_features**-0.5), layer.in_features**-0.5, generator=generator)
    return layers


@torch.no_grad()
def measures(encode: tuple[nn.Module, nn.Module], pairs: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Of held-out pairs."""
    a, b = (F.normalize(tower(part), dim=1) for tower, part in zip(encode, pairs, strict=True))
    return {
        "gap": modality_gap(a, b),
        "recall@1": (retrieval_recall(a, b) + retrieval_recall(b, a)) / 2,
        "uniformity": uniformity(torch.cat([a, b])),
        "relative alignment": relative_alignment(a, b),
    }


def run_seed(seed: int) -> dict[str, dict[str, float]]:
    """Measures before fine-tuning, and after it with each weight of the mixtures."""
    pairs = halves(seed)
    training, held_out = tuple(part[:TRAINING] for part in pairs), tuple(part[TRAINING:] for part in pairs)
    generator = torch.Generator().manual_seed(seed)
    encode = new_encoder(generator), new_encoder(generator)
    finetune(encode, training, MixupSettings(w_m2=0.0), PRETRAINING_EPOCHS, PRETRAINING_LR, generator)
    found = {"before": measures(encode, held_out)}
    for weight in WEIGHTS:
        tuned = copy.deepcopy(encode)
        finetune(tuned, training, MixupSettings(w_m2=weight), EPOCHS, LR, torch.Generator().manual_seed(seed))
        found[f"w_m2 {weight}"] = measures(tuned, held_out)
    return found
