"""`PointClassifier`: classes of clouds, for fine-tuning a pretrained encoder."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, cat, nn

from representation.pretraining.i2p_mae.encoder import I2PMAEEncoder

MLP_WIDTH, DROPOUT = 256, 0.5


class PointClassifier(nn.Module):
    """Classes of clouds by a pretrained encoder, for fine-tuning.

    Args:
        encoder: is trained on.
        num_classes: number of classes.
        pooling: mean and maximum of the last tokens, added (shapes) or side by side (scans).
    """

    def __init__(self, encoder: I2PMAEEncoder, num_classes: int, pooling: Literal["add", "concat"] = "concat") -> None:
        super().__init__()
        self.encoder, self.pooling = encoder, pooling
        self.norm = nn.LayerNorm(encoder.width)
        parts: list[nn.Module] = []
        for inputs in (encoder.width * (2 if pooling == "concat" else 1), MLP_WIDTH):
            parts += [nn.Linear(inputs, MLP_WIDTH), nn.BatchNorm1d(MLP_WIDTH), nn.ReLU(), nn.Dropout(DROPOUT)]
        self.head = nn.Sequential(*parts, nn.Linear(MLP_WIDTH, num_classes))

    def forward(self, points: Tensor) -> Tensor:
        """Logits (B, num_classes) of clouds (B, N, 3)."""
        tokens = self.norm(self.encoder.tokens(points, level=2)[0])
        mean, most = tokens.mean(dim=1), tokens.amax(dim=1)
        return self.head(mean + most if self.pooling == "add" else cat([mean, most], dim=1))
