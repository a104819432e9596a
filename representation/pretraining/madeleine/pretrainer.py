"""`MultiModalPretrainer`: trains a bag encoder on a `BagDataset` as the paper does, and keeps its best stage."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from representation.pretraining.madeleine.bag_encoder import BagEncoder
from representation.pretraining.madeleine.bags import BagDataset
from representation.pretraining.madeleine.few_shot import smooth_rank
from representation.pretraining.madeleine.objective import LossConfig, multi_modal_loss


@dataclass(frozen=True)
class PretrainerConfig:
    """How a bag encoder is trained; the defaults are those of the released script.

    Attributes:
        loss: its terms.
        epochs: over all samples.
        batch_size: samples of a step.
        n_tokens: of each bag.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW.
        warmup_epochs: of linear warm-up.
        first_lr: share of the peak at the first step.
        last_lr: learning rate at the end of the cosine.
        ranked_after: epochs after which the stage with the largest smooth rank of the reference vectors is kept; the
            last stage where training ends before.
        bfloat16: whether the encoder runs in it, under autocast; losses are in float32.
        seed: of the order of the samples, the drawn tokens and dropout.
    """

    loss: LossConfig = field(default_factory=LossConfig)
    epochs: int = 120
    batch_size: int = 65
    n_tokens: int = 2048
    lr: float = 1e-4
    weight_decay: float = 0.01
    warmup_epochs: int = 5
    first_lr: float = 1e-5
    last_lr: float = 1e-8
    ranked_after: int = 20
    bfloat16: bool = True
    seed: int = 42

    def __post_init__(self) -> None:
        if min(self.epochs, self.n_tokens) < 1 or self.batch_size < 2 or self.lr <= 0:
            raise ValueError(
                "epochs, n_tokens, batch_size, lr: expected at least 1, 1, 2 and positive, found "
                f"{self.epochs}, {self.n_tokens}, {self.batch_size}, {self.lr}"
            )


class MultiModalPretrainer:
    """Trains a bag encoder.

    Args:
        encoder: what is trained, on the device that it is on.
        config: how.
    """

    def __init__(self, encoder: BagEncoder, config: PretrainerConfig) -> None:
        self.encoder, self.config = encoder, config

    def fit(self, dataset: BagDataset, progress: bool = False) -> list[dict[str, float]]:
        """Train, and leave the encoder at its best stage, in evaluation mode.

        Args:
            dataset: the samples.
            progress: whether a bar is shown.

        Returns:
            For each epoch `loss` and its terms, each a mean over the batches that counted, `smooth_rank` of the
            reference vectors, `lr` at its end, and `skipped` batches, which had no modality with two samples.

        Raises:
            ValueError: the encoder is not for these tokens or modalities, or fewer samples than two.
        """
        config, encoder = self.config, self.encoder
        if dataset.width != encoder.in_dim or encoder.n_modalities not in (0, len(dataset.modalities)):
            raise ValueError(
                f"dataset: expected tokens of {encoder.in_dim} numbers and {encoder.n_modalities or 'any'} modalities, "
                f"found {dataset.width} and {len(dataset.modalities)}"
            )
        if len(dataset) < 2 or len(dataset.modalities) < 2:
            raise ValueError(
                f"dataset: expected 2 samples and modalities or more, found {len(dataset)} of {dataset.modalities}"
            )
        device = encoder.projector.weight.device
        generator = torch.Generator().manual_seed(config.seed)
        optimizer = torch.optim.AdamW(encoder.parameters(), config.lr, weight_decay=config.weight_decay)
        batches = math.ceil(len(dataset) / config.batch_size)
        history, best = [], (-math.inf, encoder.state_dict())
        encoder.train()
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(config.seed)  # dropout has no generator of its own
            for epoch in tqdm(range(config.epochs), desc="epochs", unit="epoch", disable=not progress):
                found, vectors, skipped = [], [], 0
                order = torch.randperm(len(dataset), generator=generator).split(config.batch_size)
                for number, rows in enumerate(order):
                    for group in optimizer.param_groups:
                        group["lr"] = self.learning_rate(epoch * batches + number, batches)
                    samples = [dataset.sample(int(row), config.n_tokens, generator) for row in rows]
                    tokens, available = (torch.stack(part).to(device) for part in zip(*samples, strict=True))
                    with torch.autocast(device.type, torch.bfloat16, enabled=config.bfloat16):
                        loss = multi_modal_loss(encoder, tokens, available, config.loss, generator)
                    if not loss.modalities:
                        skipped += 1
                        continue
                    optimizer.zero_grad()
                    loss.total.backward()
                    optimizer.step()
                    found.append({name: part.item() for name, part in loss.parts.items()} | {"loss": loss.total.item()})
                    vectors.append(loss.reference.detach().float().cpu())
                if not found:
                    raise ValueError("dataset: expected a batch in which two samples share a modality, found none")
                row = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
                rank = smooth_rank(torch.cat(vectors).numpy())
                history.append(row | {"smooth_rank": rank, "lr": group["lr"], "skipped": float(skipped)})
                if epoch < config.ranked_after or rank > best[0]:
                    best = (rank if epoch >= config.ranked_after else -math.inf, _copied(encoder))
        encoder.load_state_dict(best[1])
        encoder.eval()
        return history

    def learning_rate(self, step: int, batches: int) -> float:
        """Of a step, where an epoch has so many batches: linear warm-up, then a cosine."""
        config = self.config
        warmup, total = config.warmup_epochs * batches, config.epochs * batches
        if step < warmup:
            return config.lr * (config.first_lr + (1 - config.first_lr) * step / warmup)
        done = (step - warmup) / max(1, total - warmup)
        return config.last_lr + (config.lr - config.last_lr) * 0.5 * (1 + math.cos(math.pi * done))


def _copied(module: nn.Module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(module.state_dict())
