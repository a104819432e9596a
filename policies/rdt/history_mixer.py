"""`HistoryMixer`: from the joints of many control steps to one vector, by PoNet or by attention.

The vector is added to the token of the state: the network then knows not only where the arm is but how it came there.
Both mixers embed the steps, add learned positions counted back from now, mix them, and average over what is there;
PoNet in time that grows with the number of steps, attention with its square. Sources: `representation.structure.ponet`;
Attention Is All You Need, Vaswani et al., NeurIPS 2017 (arXiv 1706.03762), with norms before.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.rdt.config import Mixer
from representation.structure.ponet import INIT_STD, PoNetConfig, PoNetEncoder

DIM, LAYERS, HEADS = 64, 2, 4
SEGMENTS = 64


class AttentionEncoder(nn.Module):
    """What `PoNetEncoder` gives, by attention.

    Args:
        features: numbers F of a step.
        steps: longest sequence.
    """

    def __init__(self, features: int, steps: int) -> None:
        super().__init__()
        self.embed = nn.Linear(features, DIM)
        self.positions = nn.Parameter(INIT_STD * torch.randn(steps, DIM))
        # With an activation that torch knows by name it takes a path of inference that holds all N x N scores.
        gelu = partial(functional.gelu, approximate="tanh")
        layer = nn.TransformerEncoderLayer(
            DIM, HEADS, 4 * DIM, dropout=0.0, activation=gelu, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, LAYERS, norm=nn.LayerNorm(DIM), enable_nested_tensor=False)

    def forward(self, steps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, N, D) of steps (B, N, F) and their mean (B, D) over those that the mask (B, N) says are there.

        Each sequence needs one.
        """
        x = self.blocks(self.embed(steps) + self.positions[: steps.shape[1]], src_key_padding_mask=~mask)
        x = torch.where(mask[..., None], x, 0.0)
        return x, x.sum(dim=1) / mask.sum(dim=1, keepdim=True)


class HistoryMixer(nn.Module):
    """Vectors of histories; zero at first, so that a network that gets one begins as it was.

    Args:
        kind: what mixes the steps.
        features: numbers F of a step.
        steps: control steps N.
        size: width of the vectors.
    """

    def __init__(self, kind: Mixer, features: int, steps: int, size: int) -> None:
        super().__init__()
        self.mixer: PoNetEncoder | AttentionEncoder
        if kind == "ponet":
            sizes = {"dim": DIM, "layers": LAYERS, "heads": HEADS, "max_len": steps, "segments": SEGMENTS}
            self.mixer = PoNetEncoder(PoNetConfig(in_features=features, dropout=0.0, **sizes))
        else:
            self.mixer = AttentionEncoder(features, steps)
        self.project = nn.Linear(DIM, size)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, steps: Tensor, present: Tensor) -> Tensor:
        """Vectors (B, size) of steps (B, N, F), of which those of `present` (B, N) are there; zero where none is."""
        known = present.any(dim=1, keepdim=True)
        _, pooled = self.mixer(steps, mask=present | ~known)
        return torch.where(known, self.project(pooled), 0.0)
