"""What a style transfer net is trained by (AdaAttN, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from representation.generative.mmist.style_transfer import (
    StyleTransferNet,
    Tokens,
    attended,
    key_features,
    mvn,
)
from representation.generative.mmist.texture_generator import statistics_loss


@dataclass(frozen=True)
class TransferWeights:
    """Of the parts of the loss; the first two are the reference's, the others 0 there.

    Attributes:
        whole: of the channels' means and deviations.
        local: of what each place should be.
        content: of normalised features, which are the content's.
        pixels: of the means and deviations of the colours themselves, which narrow encoders tell badly.
        identity: of pixels, of the first content of a batch, whose style is itself: small decoders blur without.
    """

    whole: float = 10.0
    local: float = 3.0
    content: float = 0.0
    pixels: float = 200.0
    identity: float = 50.0

    def __post_init__(self) -> None:
        if min(self.whole, self.local, self.content, self.pixels, self.identity) < 0:
            raise ValueError(f"weights: expected at least 0, found {self}")


def paired_tokens(net: StyleTransferNet, levels: Sequence[Tensor]) -> tuple[Tokens, Tokens, Tokens]:
    """What contents attend to, each to the style picture of its row."""
    blocks = (net.adaattn_3, net.transformer.attn_adain_4_1, net.transformer.attn_adain_5_1)
    three, four, five = (
        block.tokens([(levels[level - 1], key_features(levels, level))])
        for level, block in zip((3, 4, 5), blocks, strict=True)
    )
    return three, four, five


@torch.no_grad()
def local_target(content: Sequence[Tensor], style: Sequence[Tensor], level: int) -> Tensor:
    """What features of a level should be: those of attention without learned maps."""
    features = style[level - 1]
    tokens = Tokens(key_features(style, level).flatten(2), features.flatten(2).mT)
    return attended(content[level - 1], key_features(content, level), tokens)


def transfer_loss(
    net: StyleTransferNet, contents: Tensor, styles: Tensor, weights: TransferWeights
) -> tuple[Tensor, Tensor]:
    """Loss of contents (B, 3, H, W) in the styles (B, 3, H, W) of their rows, and the pictures (B, 3, H, W)."""
    if weights.identity:
        styles = torch.cat([contents[:1], styles[1:]])
    with torch.no_grad():
        content, style = net.encoder.levels(contents), net.encoder.levels(styles)
    made = net.pictures(content, paired_tokens(net, style), contents.shape[-2:])
    found = net.encoder.levels(made)
    total = weights.whole * statistics_loss(found[1:], style[1:])
    total = total + weights.pixels * statistics_loss([made], [styles])
    for level in range(2, 6):
        wanted = local_target(content, style, level)
        total = total + weights.local * (found[level - 1] - wanted).square().mean()
        if weights.content:
            same = (mvn(found[level - 1]) - mvn(content[level - 1])).square().mean()
            total = total + weights.content * same
    if weights.identity:
        total = total + weights.identity * (made[0] - contents[0]).abs().mean()
    return total, made
