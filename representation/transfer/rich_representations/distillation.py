"""`MultiHeadDistiller`: one encoder that learns what several tell, under a head for each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

from representation.transfer.rich_representations.cat_encoder import encoded
from representation.transfer.rich_representations.members import new_head
from representation.transfer.rich_representations.samples import Inputs


@dataclass(frozen=True)
class DistillConfig:
    """How a student is trained, by Adam with a cosine.

    Attributes:
        epochs: over the loader.
        lr: largest step size.
        progress: whether it is shown.
    """

    epochs: int = 60
    lr: float = 1e-3
    progress: bool = False


class MultiHeadDistiller(nn.Module):
    """A student with one head for each teacher, all of whose logits it has to tell (Distill).

    One head that tells the mean logits would let the student drop most of what the teachers know.

    Args:
        student: an encoder with `width` and `encode`; trained in place.
        teachers: encoders; are frozen.
        heads: the teachers' own classifiers; are frozen.
        temperature: that softens both sides; with 1 a teacher that is sure tells nothing but its class.
        seed: draws the student's heads.

    Raises:
        ValueError: not as many heads as teachers, or a head that does not fit.
    """

    def __init__(
        self,
        student: nn.Module,
        teachers: Sequence[nn.Module],
        heads: Sequence[nn.Linear],
        temperature: float = 10.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not teachers or len(teachers) != len(heads):
            raise ValueError(f"heads: expected one for each of {len(teachers)} teachers, found {len(heads)}")
        for teacher, head in zip(teachers, heads, strict=True):
            if head.in_features != teacher.width:
                raise ValueError(f"head: expected {teacher.width} inputs as its teacher gives, found {head}")
        if temperature <= 0:
            raise ValueError(f"temperature: expected more than 0, found {temperature}")
        generator = torch.Generator().manual_seed(seed)
        self.student, self.temperature = student, temperature
        self.student_heads = nn.ModuleList(new_head(student.width, head.out_features, generator) for head in heads)
        self.teachers, self.heads = nn.ModuleList(teachers), nn.ModuleList(heads)
        self.teachers.requires_grad_(False)
        self.heads.requires_grad_(False)

    def train(self, mode: bool = True) -> MultiHeadDistiller:
        """Training mode of the student; teachers stay in evaluation mode."""
        super().train(mode)
        self.teachers.eval()
        return self

    def loss(self, inputs: Inputs) -> Tensor:
        """Mean over inputs and teachers of τ² KL(teacher's softened classes, student's)."""
        vectors = encoded(self.student, inputs)
        losses = []
        for teacher, head, own in zip(self.teachers, self.heads, self.student_heads, strict=True):
            with torch.no_grad():
                wanted = (head(encoded(teacher, inputs)) / self.temperature).log_softmax(dim=1)
            told = (own(vectors) / self.temperature).log_softmax(dim=1)
            losses.append(F.kl_div(told, wanted, reduction="batchmean", log_target=True))
        return self.temperature**2 * torch.stack(losses).mean()

    def fit(self, loader: Iterable[Inputs], config: DistillConfig | None = None) -> nn.Module:
        """Train the student; it is then in evaluation mode.

        Args:
            loader: gives batches of source inputs, each time that it is gone through.
            config: how.
        """
        config = config or DistillConfig()
        trained = [*self.student.parameters(), *self.student_heads.parameters()]
        optimizer = torch.optim.Adam([parameter for parameter in trained if parameter.requires_grad], config.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs)
        self.train()
        for _ in tqdm(range(config.epochs), desc="distilling", unit="epoch", disable=not config.progress):
            for inputs in loader:
                optimizer.zero_grad()
                self.loss(inputs).backward()
                optimizer.step()
            schedule.step()
        self.eval()
        return self.student
