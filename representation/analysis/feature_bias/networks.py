"""Networks of the study: a perceptron, convolutions with or without shortcuts, and a transformer that emits labels."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.analysis.feature_bias.tasks import FeatureTask

Architecture = Literal["mlp", "cnn", "resnet", "transformer"]
Activation = Literal["relu", "tanh"]
FORMS = {"mlp": "vector", "cnn": "image", "resnet": "image", "transformer": "sequence"}


class StudyNetwork(nn.Module):
    """A network that tells J features; `layers` names what may be analysed, after its activation."""

    layers: tuple[str, ...] = ()

    def hidden(self, inputs: Tensor) -> dict[str, Tensor]:
        """Activations (B, m) by layer; the last one is what the logits are read from."""
        raise NotImplementedError

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (B, J). Labels (B, J) are what a network that emits them in turn has emitted before."""
        raise NotImplementedError


class Perceptron(StudyNetwork):
    """Linear layers with an activation and dropout after each, under a linear head."""

    def __init__(
        self,
        n_inputs: int,
        features: int,
        widths: tuple[int, ...] = (256, 128, 64, 64),
        activation: Activation = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise((n_inputs, *widths)))
        self.layers = tuple(f"layer {number}" for number in range(1, len(widths) + 1))
        self.head, self.dropout = nn.Linear(widths[-1], features), dropout
        self._activate = torch.tanh if activation == "tanh" else torch.relu

    def hidden(self, inputs: Tensor) -> dict[str, Tensor]:
        """Activations after each layer."""
        found = {}
        for name, part in zip(self.layers, self.parts, strict=True):
            inputs = F.dropout(self._activate(part(inputs)), self.dropout, self.training)
            found[name] = inputs
        return found

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (B, J)."""
        return self.head(self.hidden(inputs)[self.layers[-1]])


class Convolutions(StudyNetwork):
    """Four convolutions, each half as large as the one before, and two linear layers; `shortcuts` make it residual."""

    layers = ("map", "penultimate")

    def __init__(self, features: int, objects: int, width: int = 32, shortcuts: bool = False) -> None:
        super().__init__()
        channels = (3, width, width, 2 * width, 2 * width)
        self.parts = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(channels))
        self.norms = nn.ModuleList(nn.GroupNorm(8, channel) for channel in channels[1:])
        skips = [nn.Conv2d(a, b, 1, 2) for a, b in pairwise(channels)] if shortcuts else []
        self.skips = nn.ModuleList(skips)
        self.last, self.head = nn.Linear(2 * width * 4 * objects, 64), nn.Linear(64, features)

    def hidden(self, inputs: Tensor) -> dict[str, Tensor]:
        """The last map, flat, and the layer below the head."""
        x = 2 * inputs - 1
        for number, (part, norm) in enumerate(zip(self.parts, self.norms, strict=True)):
            inner = norm(part(x))
            x = F.relu(inner + self.skips[number](x)) if self.skips else F.relu(inner)
        places = x.flatten(1)
        return {"map": places, "penultimate": F.relu(self.last(places))}

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (B, J)."""
        return self.head(self.hidden(inputs)["penultimate"])


class LabelEmitter(StudyNetwork):
    """A transformer whose decoder emits the labels one after the other, each knowing those before it."""

    layers = ("encoder",)

    def __init__(self, n_inputs: int, features: int, width: int = 64, depth: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.tokens, self.emitted = nn.Embedding(2, width), nn.Embedding(3, width)
        self.places = nn.Parameter(0.1 * torch.randn(n_inputs, width))
        self.turns = nn.Parameter(0.1 * torch.randn(features, width))
        sizes = {"nhead": 4, "dim_feedforward": 4 * width, "dropout": dropout, "batch_first": True, "norm_first": True}
        encoder, decoder = nn.TransformerEncoderLayer(width, **sizes), nn.TransformerDecoderLayer(width, **sizes)
        self.encoder = nn.TransformerEncoder(encoder, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(decoder, depth, nn.LayerNorm(width))
        self.head = nn.Linear(width, 1)

    def hidden(self, inputs: Tensor) -> dict[str, Tensor]:
        """Mean over the sequence of the encoder's outputs."""
        return {"encoder": self._encoded(inputs).mean(dim=1)}

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (B, J); without labels, each label is emitted before the next one is asked for."""
        memory, count = self._encoded(inputs), len(self.turns)
        if labels is not None:
            return self._decoded(memory, labels)
        said = torch.zeros(len(inputs), count)
        for turn in range(count):
            logits = self._decoded(memory, said)
            said[:, turn] = (logits[:, turn] > 0).float()
        return logits

    def _encoded(self, inputs: Tensor) -> Tensor:
        return self.encoder(self.tokens(inputs.long()) + self.places)

    def _decoded(self, memory: Tensor, labels: Tensor) -> Tensor:
        count = len(self.turns)
        before = torch.cat([labels.new_full((len(labels), 1), 2), labels[:, :-1]], dim=1).long()
        later = torch.ones(count, count, dtype=torch.bool).triu(1)
        return self.head(self.decoder(self.emitted(before) + self.turns, memory, tgt_mask=later))[..., 0]


def new_network(
    architecture: Architecture,
    task: FeatureTask,
    seed: int,
    widths: tuple[int, ...] = (256, 128, 64, 64),
    activation: Activation = "relu",
    dropout: float = 0.0,
) -> StudyNetwork:
    """An untrained network for a task.

    Args:
        architecture: which one.
        task: whose form it must take.
        seed: of the weights.
        widths: of the perceptron's layers.
        activation: of the perceptron.
        dropout: of the perceptron and the transformer.

    Raises:
        ValueError: it takes inputs of another form.
    """
    if architecture not in FORMS or FORMS[architecture] != task.form:
        raise ValueError(f"architecture: expected one for inputs of form {task.form}, found {architecture!r}")
    features, objects = len(task.features), task.n_inputs // 4
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if architecture == "mlp":
            return Perceptron(task.n_inputs, features, widths, activation, dropout)
        if architecture == "transformer":
            return LabelEmitter(task.n_inputs, features, dropout=dropout)
        return Convolutions(features, objects, shortcuts=architecture == "resnet")
