"""Training until every feature is told on held-out inputs, and the study of what variance then goes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.analysis.feature_bias.decoding import decodability
from representation.analysis.feature_bias.networks import Activation, Architecture, StudyNetwork, new_network
from representation.analysis.feature_bias.tasks import FeatureTask, Samples
from representation.analysis.feature_bias.variance import pca_alignment, unit_density, variance_explained


@dataclass(frozen=True)
class TrainOptions:
    """How a network is trained.

    Attributes:
        optimizer: which one.
        lr: its learning rate.
        momentum: of SGD.
        weight_decay: of all of them.
        batch: inputs a step.
        train: inputs to train on.
        test: held-out inputs.
        seed: of the order of inputs, and of dropout.
        curve: whether shares are measured after every epoch.
    """

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    batch: int = 128
    train: int = 4096
    test: int = 1024
    seed: int = 0
    curve: bool = False

    def __post_init__(self) -> None:
        if self.optimizer not in ("adam", "adamw", "sgd"):
            raise ValueError(f"optimizer: expected adam, adamw or sgd, found {self.optimizer!r}")
        if min(self.batch, self.train, self.test) < 1 or self.lr <= 0:
            raise ValueError(f"batch, train, test, lr: expected positive numbers, found {self}")

    def new(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of a network."""
        if self.optimizer == "sgd":
            return torch.optim.SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        kind = torch.optim.AdamW if self.optimizer == "adamw" else torch.optim.Adam
        return kind(model.parameters(), self.lr, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class TrainingLog:
    """What happened in training.

    Attributes:
        accuracy: (E, J) of held-out inputs after each epoch.
        shares: (E, J) of the variance of the last layer, if asked for; else (0, J).
        reached: whether all trained features were told as well as wanted.
    """

    accuracy: NDArray[np.float64]
    shares: NDArray[np.float64]
    reached: bool

    @property
    def epochs(self) -> int:
        """How many there were."""
        return len(self.accuracy)


@torch.no_grad()
def activations(model: StudyNetwork, inputs: Tensor, layer: str | None = None) -> NDArray[np.float64]:
    """Activations (N, m) of a layer, by default the one below the head; in evaluation mode."""
    name = layer or model.layers[-1]
    if name not in model.layers:
        raise ValueError(f"layer: expected one of {', '.join(model.layers)}, found {name!r}")
    was, _ = model.training, model.eval()
    found = torch.cat([model.hidden(part)[name] for part in inputs.split(1024)])
    model.train(was)
    return found.double().numpy()


def train_until(
    model: StudyNetwork,
    task: FeatureTask,
    target_acc: float = 0.99,
    max_epochs: int = 200,
    options: TrainOptions | None = None,
    only: Sequence[int] | None = None,
) -> TrainingLog:
    """Train until every trained feature is told on held-out inputs, and no longer.

    What was memorised and not learned is not told there: without `reached`, shares mean nothing.

    Args:
        model: which is trained; afterwards in evaluation mode.
        task: what on.
        target_acc: least held-out accuracy of each trained feature.
        max_epochs: after which it ends anyway.
        options: how.
        only: numbers of the features that are trained; all if None.
    """
    options = options or TrainOptions()
    wanted = list(range(len(task.features))) if only is None else list(only)
    if not wanted or not set(wanted) <= set(range(len(task.features))):
        raise ValueError(f"only: expected numbers of {len(task.features)} features, found {only}")
    if not 0.5 < target_acc <= 1 or max_epochs < 1:
        raise ValueError(f"target_acc, max_epochs: expected in (0.5, 1], at least 1, found {target_acc}, {max_epochs}")
    train, test = task.split(options.train, options.test)
    optimizer, generator = options.new(model), torch.Generator().manual_seed(options.seed)
    accuracy, shares = [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        for _ in range(max_epochs):
            model.train()
            for rows in torch.randperm(len(train.inputs), generator=generator).split(options.batch):
                asked = train.labelled[rows][:, wanted].float()
                logits, labels = model(train.inputs[rows], train.labels[rows])[:, wanted], train.labels[rows][:, wanted]
                loss = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
                optimizer.zero_grad()
                ((loss * asked).sum() / asked.sum().clamp(min=1)).backward()
                optimizer.step()
            accuracy.append(held_out_accuracy(model, test))
            if options.curve:
                shares.append(shares_of(model, test))
            if accuracy[-1][wanted].min() >= target_acc:
                break
    model.eval()
    reached = bool(accuracy[-1][wanted].min() >= target_acc)
    return TrainingLog(np.array(accuracy), np.array(shares).reshape(-1, len(task.features)), reached)


@torch.no_grad()
def held_out_accuracy(model: StudyNetwork, test: Samples) -> NDArray[np.float64]:
    """Accuracy (J,) of each feature, on all inputs whether it is labelled or not."""
    model.eval()
    told = torch.cat([model(part) > 0 for part in test.inputs.split(1024)])
    return (told == (test.labels > 0.5)).double().mean(dim=0).numpy()


def shares_of(model: StudyNetwork, test: Samples) -> NDArray[np.float64]:
    """Shares (J,) of the variance of the last layer."""
    report = variance_explained(activations(model, test.inputs), test.labels.numpy(), joint=False)
    return np.array(list(report.per_factor.values()))


@dataclass(frozen=True)
class BiasStudyConfig:
    """What is studied.

    Attributes:
        task: inputs and features; its seed is changed with each repetition.
        architecture: of the network.
        widths: of a perceptron.
        activation: of a perceptron.
        dropout: of a perceptron and a transformer.
        layer: that is analysed; the last one if empty.
        first: numbers of features that are trained alone before all are; none if empty.
        target_acc: held-out accuracy at which training ends.
        max_epochs: of each of the two trainings.
        options: how networks are trained.
        seeds: repetitions.
    """

    task: FeatureTask
    architecture: Architecture = "mlp"
    widths: tuple[int, ...] = (256, 128, 64, 64)
    activation: Activation = "relu"
    dropout: float = 0.0
    layer: str = ""
    first: tuple[int, ...] = ()
    target_acc: float = 0.99
    max_epochs: int = 200
    options: TrainOptions = field(default_factory=TrainOptions)
    seeds: int = 3


def study_network(config: BiasStudyConfig, seed: int) -> tuple[StudyNetwork, FeatureTask, list[TrainingLog]]:
    """Train one network of a study: network, task and the logs of its trainings."""
    task = replace(config.task, seed=config.task.seed + seed)
    model = new_network(config.architecture, task, seed, config.widths, config.activation, config.dropout)
    logs = []
    for only in (config.first, None) if config.first else (None,):
        logs.append(train_until(model, task, config.target_acc, config.max_epochs, config.options, only))
    return model, task, logs


def bias_study(config: BiasStudyConfig) -> pd.DataFrame:
    """Train networks and say what their variance goes to.

    Returns:
        A row for each seed and feature: `seed`, `feature`, `kind`, `accuracy`, `reached`, `share`, `decodability`,
        `density`, `component` (rank of the first principal component that shows it; NaN if none), `epochs`, and the
        shares of the whole layer, equal in all rows of a seed: `joint`, `interactions`, `inputs` (that all bits
        explain), `untrained` (of this feature, before training).
    """
    rows = []
    for seed in range(config.seeds):
        model, task, logs = study_network(config, seed)
        untrained = new_network(config.architecture, task, seed, config.widths, config.activation, config.dropout)
        test = task.split(config.options.train, config.options.test)[1]
        layer = config.layer or model.layers[-1]
        h, labels = activations(model, test.inputs, layer), test.labels.numpy()
        before = variance_explained(activations(untrained, test.inputs, layer), labels, joint=False).per_factor
        report = variance_explained(h, labels, interactions=True)
        bits = variance_explained(h, test.bits).joint
        told, dense, shown = decodability(h, labels.astype(int)), unit_density(h, labels), pca_alignment(h, labels)
        for place, feature in enumerate(task.features):
            name, rank = str(place), shown[str(place)].rank
            rows.append(
                {
                    "seed": seed,
                    "feature": place,
                    "kind": feature.kind,
                    "accuracy": logs[-1].accuracy[-1, place],
                    "reached": all(log.reached for log in logs),
                    "share": report.per_factor[name],
                    "decodability": told[name].score,
                    "density": dense[name],
                    "component": np.nan if rank is None else float(rank),
                    "epochs": sum(log.epochs for log in logs),
                    "joint": report.joint,
                    "interactions": report.interactions,
                    "inputs": bits,
                    "untrained": before[name],
                }
            )
    return pd.DataFrame(rows)
