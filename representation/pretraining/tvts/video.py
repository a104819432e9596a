"""`VideoTransformer`: tokens of short tubes through joint attention over space and time (paper, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from representation.pretraining.transformer_block import Block

NORM_EPS = 1e-6


class VideoTransformer(nn.Module):
    """A vision transformer over tubelets, with the released names of weights.

    Args:
        img_size: side of the frames, pixels.
        patch_size: side of a patch, pixels.
        num_frames: most frames T of a clip.
        embed_dim: width D of the tokens.
        depth: number of blocks.
        num_heads: of each block.
        tubelet_size: frames that a token spans.
    """

    def __init__(
        self,
        img_size: int,
        patch_size: int,
        num_frames: int,
        embed_dim: int,
        depth: int,
        num_heads: int,
        tubelet_size: int = 2,
    ) -> None:
        super().__init__()
        self.img_size, self.num_frames, self.tubelet_size = img_size, num_frames, tubelet_size
        self.patches, self.tubes = (img_size // patch_size) ** 2, num_frames // tubelet_size
        step = (tubelet_size, patch_size, patch_size)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(3, embed_dim, step, stride=step)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.patches + 1, embed_dim))
        self.temporal_embed = nn.Parameter(torch.zeros(1, self.tubes, embed_dim))
        self.blocks = nn.ModuleList(Block(embed_dim, num_heads, eps=NORM_EPS) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim, eps=NORM_EPS)
        for value in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(value, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, video: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens (B, 1 + N, D) of normalised clips (B, T, 3, H, W), the class token first.

        Args:
            video: T is a multiple of the tubelet; a clip that is shorter than `num_frames` has fewer tubes.
            keep: (B, tubes, n) numbers of the patches that are seen of each tube; None is all of them.
        """
        side = self.img_size
        if video.shape[2:] != (3, side, side) or video.shape[1] % self.tubelet_size:
            raise ValueError(
                f"video: expected (B, T, 3, {side}, {side}) with T a multiple of {self.tubelet_size}, "
                f"found {tuple(video.shape)}"
            )
        x = self.patch_embed["proj"](video.transpose(1, 2)).flatten(3).permute(0, 2, 3, 1)  # (B, tubes, patches, D)
        x = x + self.pos_embed[:, None, 1:] + self.temporal_embed[:, : x.shape[1], None]
        if keep is not None:
            x = x.gather(2, keep[..., None].expand(-1, -1, -1, x.shape[3]))
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        x = torch.cat([first, x.flatten(1, 2)], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def random_keep_indices(batch: int, tubes: int, patches: int, mask_ratio: float, generator: torch.Generator) -> Tensor:
    """Numbers (batch, tubes, patches - int(mask_ratio * patches)) of random patches, for each tube by itself."""
    order = torch.rand(batch, tubes, patches, generator=generator).argsort(dim=2)
    return order[..., : patches - int(mask_ratio * patches)]
