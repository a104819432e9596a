"""CLIP's image towers: the vision transformer and the modified residual network, with the released names of weights."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.pretraining.clip.config import HEAD_WIDTH, RESNET_STRIDE, Activation
from representation.pretraining.clip.transformer import Transformer


class VisionTransformer(nn.Module):
    """Patches and a class token through a transformer.

    Args:
        resolution: side of the pictures, pixels.
        patch: side of a patch, pixels.
        width: of the tokens.
        layers: number of blocks.
        output: numbers of an embedding.
        activation: of the blocks.
        generator: draws the first weights.
    """

    def __init__(
        self,
        resolution: int,
        patch: int,
        width: int,
        layers: int,
        output: int,
        activation: Activation,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        scale, patches = width**-0.5, (resolution // patch) ** 2

        def normal(*shape: int) -> nn.Parameter:
            return nn.Parameter(scale * torch.randn(shape, generator=generator))

        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        nn.init.normal_(self.conv1.weight, std=(3 * patch * patch) ** -0.5, generator=generator)
        self.class_embedding = normal(width)
        self.positional_embedding = normal(patches + 1, width)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, max(1, width // HEAD_WIDTH), activation, generator)
        self.ln_post = nn.LayerNorm(width)
        self.proj = normal(width, output)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, R, R) to embeddings (B, E)."""
        return self.ln_post(self.transformer(self._tokens(images))[:, 0]) @ self.proj

    def patch_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of all patches, and how much the class token looks at each of them in the last block.

        Args:
            images: (B, 3, R, R).

        Returns:
            Embeddings (B, N, E) and attention (B, N), averaged over the heads; N patches row by row.
        """
        x, blocks = self._tokens(images), self.transformer.resblocks
        for block in blocks[:-1]:
            x = block(x, None)
        attention = blocks[-1].attention_of(x)[:, 0, 1:]
        return self.ln_post(blocks[-1](x, None)[:, 1:]) @ self.proj, attention

    def _tokens(self, images: Tensor) -> Tensor:
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        first = self.class_embedding.to(patches).expand(len(images), 1, -1)
        return self.ln_pre(torch.cat([first, patches], dim=1) + self.positional_embedding)


class Bottleneck(nn.Module):
    """Residual block whose strides are average pools (anti-aliasing) behind convolutions of stride 1."""

    EXPANSION = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = self.EXPANSION * width
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.downsample: nn.Module | None = None
        if stride > 1 or channels != out:
            parts = [
                ("-1", nn.AvgPool2d(stride)),
                ("0", nn.Conv2d(channels, out, 1, bias=False)),
                ("1", nn.BatchNorm2d(out)),
            ]
            self.downsample = nn.Sequential(OrderedDict(parts))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to maps (B, 4 width, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.avgpool(F.relu(self.bn2(self.conv2(y))))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class AttentionPool(nn.Module):
    """One attention in which the mean of the positions asks all of them."""

    def __init__(self, side: int, channels: int, output: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.heads = max(1, channels // HEAD_WIDTH)
        std = channels**-0.5
        self.positional_embedding = nn.Parameter(std * torch.randn(side * side + 1, channels, generator=generator))
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(channels, channels) for _ in range(3))
        self.c_proj = nn.Linear(channels, output)
        for layer in (self.q_proj, self.k_proj, self.v_proj, self.c_proj):
            nn.init.normal_(layer.weight, std=std, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, S, S) to embeddings (B, E)."""
        tokens = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + self.positional_embedding
        q, k, v = (
            layer(part).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, part in ((self.q_proj, tokens[:, :1]), (self.k_proj, tokens), (self.v_proj, tokens))
        )
        return self.c_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)[:, 0])


class ModifiedResNet(nn.Module):
    """Residual network with a stem of three convolutions, anti-aliased strides and attention in place of pooling.

    Args:
        resolution: side of the pictures, pixels.
        layers: blocks of the four stages.
        width: channels of the first stage.
        output: numbers of an embedding.
        generator: draws the first weights.
    """

    def __init__(
        self,
        resolution: int,
        layers: tuple[int, int, int, int],
        width: int,
        output: int,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        half = width // 2
        self.conv1, self.bn1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = nn.Conv2d(half, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(2)
        channels = width
        for stage, blocks in enumerate(layers):
            own = width * 2**stage
            strides = [1 if stage == 0 else 2, *[1] * (blocks - 1)]
            parts = []
            for stride in strides:
                parts.append(Bottleneck(channels, own, stride))
                channels = Bottleneck.EXPANSION * own
            self.add_module(f"layer{stage + 1}", nn.Sequential(*parts))
        self.attnpool = AttentionPool(resolution // RESNET_STRIDE, channels, output, generator)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, R, R) to embeddings (B, E)."""
        x = images
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = F.relu(norm(conv(x)))
        x = self.avgpool(x)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.attnpool(x)
