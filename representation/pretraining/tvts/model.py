"""`TVTS`: a video and a text encoder, what aligns them, and what puts sentences in order (paper, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.pretraining.transformer_block import Block
from representation.pretraining.tvts.config import Config
from representation.pretraining.tvts.text import DistilBertTexts, TextTower
from representation.pretraining.tvts.video import NORM_EPS, VideoTransformer


class SortTransformer(nn.Module):
    """Tells the place of each sentence in a video, with the released names of weights.

    Sentences get no positions: permuted sentences give permuted answers, so that their order tells nothing.

    Args:
        embed_dim: width D of all tokens.
        depth: number of blocks.
        num_heads: of each block.
        num_steps: number K of places.
    """

    def __init__(self, embed_dim: int, depth: int, num_heads: int, num_steps: int) -> None:
        super().__init__()
        self.type_embed = nn.Parameter(torch.zeros(1, 2, embed_dim))
        self.blocks = nn.ModuleList(Block(embed_dim, num_heads, eps=NORM_EPS) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim, eps=NORM_EPS)
        self.head = nn.Linear(embed_dim, num_steps)

    def forward(self, texts: Tensor, video: Tensor) -> Tensor:
        """Logits (B, K, K) of the places of sentences (B, K, D) in video tokens (B, N, D), the class token included."""
        x = torch.cat([video + self.type_embed[:, :1], texts + self.type_embed[:, 1:]], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, video.shape[1] :]))


class TVTS(nn.Module):
    """All networks of the paper, with the released names of weights.

    Args:
        config: sizes.
        text_model: encoder of sentences, as wide as the video tokens.
    """

    def __init__(self, config: Config, text_model: TextTower | DistilBertTexts) -> None:
        super().__init__()
        c = config
        if text_model.width != c.width:
            raise ValueError(f"text: expected vectors of sentences as wide as {c.width}, found {text_model.width}")
        self.config, self.text_model = config, text_model
        self.video_model = VideoTransformer(c.resolution, c.patch, c.frames, c.width, c.depth, c.heads, c.tubelet)
        self.txt_proj = nn.Sequential(nn.ReLU(), nn.Linear(c.width, c.projection))
        self.vid_proj = nn.Sequential(nn.Linear(c.width, c.projection))
        self.pred_model = SortTransformer(c.width, c.sort_depth, c.heads, c.steps)

    def embed_texts(self, tokens: Tensor) -> Tensor:
        """Vectors (B, K, D) of ids (B, K, L)."""
        return self.text_model(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])

    def align(self, texts: Tensor, video: Tensor) -> Tensor:
        """Cosines (B, B) of the mean of each script's sentences (B, K, D) and the class token of each of (B, N, D)."""
        script = F.normalize(self.txt_proj(texts).mean(dim=1), dim=1)
        return script @ F.normalize(self.vid_proj(video[:, 0]), dim=1).T

    def sort(self, texts: Tensor, video: Tensor) -> Tensor:
        """Logits (B, K, K): row k is where sentence k happens; sentences get no gradient."""
        return self.pred_model(texts.detach(), video)


def alignment_loss(cosines: Tensor, temperature: float, episodes: Tensor) -> Tensor:
    """Cross-entropy of finding the own video of each script, and the own script of each video, added.

    Args:
        cosines: (B, B) of scripts and videos.
        temperature: divides them.
        episodes: (B,) numbers of the episodes; what another clip of one's own episode shows is not held against it.
    """
    own = torch.arange(len(cosines), device=cosines.device)
    alike = (episodes[:, None] == episodes) & (own[:, None] != own)
    logits = (cosines / temperature).masked_fill(alike, -torch.inf)
    return F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)


def sorting_loss(logits: Tensor) -> Tensor:
    """Cross-entropy of the places of K sentences, which are in order, by logits (B, K, K)."""
    batch, count = logits.shape[:2]
    return F.cross_entropy(logits.flatten(0, 1), torch.arange(count, device=logits.device).repeat(batch))
