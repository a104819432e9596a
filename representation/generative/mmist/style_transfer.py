"""AdaAttN: style transfer by attention from the places of a content picture to those of style pictures.

Source: AdaAttN: Revisit Attention Mechanism in Arbitrary Neural Style Transfer, Liu et al., ICCV 2021
(arXiv 2108.03647), with the joint attention over several style pictures of MMIST, section 3.3. Modules are named and
laid out as in the released code, so that converted weights load: `encoder.N.*`, `adaattn_3.*`, `transformer.*`,
`decoder.*`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

VGG19 = (64, 128, 256, 512, 512)
MAX_SAMPLE = 64 * 64
LEAST_STD, LEAST_SIDE = 0.03, 32
_LEVELS = (4, 11, 18, 31, 44)
_CONVOLUTIONS = (2, 2, 4, 4, 1)


def mvn(x: Tensor) -> Tensor:
    """Features (B, C, h, w) less their mean over space, divided by their (unbiased) standard deviation."""
    variance, mean = torch.var_mean(x, dim=(2, 3), keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


def resized_to(x: Tensor, other: Tensor) -> Tensor:
    """Features by nearest neighbours at the size of others."""
    return F.interpolate(x, other.shape[-2:], mode="nearest")


class VGGEncoder(nn.Sequential):
    """VGG-19 up to relu5_1 behind a 1 x 1 convolution, with padding by reflection: 44 layers, of any widths.

    Args:
        widths: channels of the five levels.
    """

    def __init__(self, widths: Sequence[int] = VGG19) -> None:
        if len(widths) != 5 or min(widths) < 1:
            raise ValueError(f"widths: expected five numbers of channels, found {list(widths)}")
        layers: list[nn.Module] = [nn.Conv2d(3, 3, 1)]
        nn.init.dirac_(layers[0].weight)
        nn.init.zeros_(layers[0].bias)
        channels = 3
        for level, (width, count) in enumerate(zip(widths, _CONVOLUTIONS, strict=True)):
            if level:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
            for _ in range(count):
                convolution = nn.Conv2d(channels, width, 3)
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
                nn.init.zeros_(convolution.bias)
                layers += [nn.ReflectionPad2d(1), convolution, nn.ReLU()]
                channels = width
        super().__init__(*layers)
        self.widths = tuple(widths)

    def levels(self, images: Tensor) -> list[Tensor]:
        """Features relu1_1 to relu5_1 of pictures (B, 3, H, W) in [0, 1], of at least 32 pixels."""
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[-2:]) < LEAST_SIDE:
            raise ValueError(f"images: expected (B, 3, H, W) of at least 32 pixels, found {tuple(images.shape)}")
        found, first = [], 0
        for last in _LEVELS:
            for layer in list(self)[first:last]:
                images = layer(images)
            found.append(images)
            first = last
        return found

    @torch.no_grad()
    def normalise(self, images: Tensor) -> None:
        """Scale all channels so that their mean over some pictures is 1, as the released weights have it.

        A channel counts as having at least a tenth of the mean of its layer, so that silent ones stay silent.
        """
        x, scale = self[0](images), None
        for number in range(1, len(self)):
            layer = self[number]
            if isinstance(layer, nn.Conv2d):
                if scale is not None:
                    layer.weight.mul_(scale[:, None, None])
                mean = layer(x).relu().mean(dim=(0, 2, 3))
                scale = mean.maximum(0.1 * mean.mean()).clamp(min=1e-6)
                layer.weight.div_(scale[:, None, None, None])
                layer.bias.div_(scale)
            x = layer(x)


def key_features(features: Sequence[Tensor], level: int) -> Tensor:
    """Keys of a level, numbered from 1: normalised features of it and of all below it, at its size."""
    own = features[level - 1]
    parts = [mvn(resized_to(below, own)) for below in features[: level - 1]]
    return torch.cat([*parts, mvn(own)], dim=1)


@dataclass(frozen=True)
class Tokens:
    """What a block needs of all style pictures.

    Attributes:
        keys: (1, key_ch, n).
        values: (1, n, in_ch).
    """

    keys: Tensor
    values: Tensor


def attended(content: Tensor, queries: Tensor, tokens: Tokens) -> Tensor:
    """Normalised content (B, C, h, w), times the standard deviation and plus the mean of the values it attends to."""
    batch, _, height, width = content.shape
    weights = (queries.flatten(2).mT @ tokens.keys).softmax(dim=-1)
    mean = weights @ tokens.values
    # The small number keeps the gradient finite where the variance is 0.
    std = (F.relu(weights @ tokens.values.square() - mean.square()) + 1e-8).sqrt()
    mean, std = (part.mT.reshape(batch, -1, height, width) for part in (mean, std))
    return std * mvn(content) + mean


class AdaAttN(nn.Module):
    """One block.

    Args:
        in_ch: channels of the features.
        key_ch: channels of the keys.
        max_sample: places of a style picture that are attended to, at most.
    """

    def __init__(self, in_ch: int, key_ch: int, max_sample: int = MAX_SAMPLE) -> None:
        super().__init__()
        self.f, self.g, self.h = nn.Conv2d(key_ch, key_ch, 1), nn.Conv2d(key_ch, key_ch, 1), nn.Conv2d(in_ch, in_ch, 1)
        self.max_sample = max_sample
        for layer in (self.f, self.g, self.h):  # begins as the attention that it is trained towards
            nn.init.dirac_(layer.weight)
            nn.init.zeros_(layer.bias)

    def tokens(self, styles: Sequence[tuple[Tensor, Tensor]], seed: int = 0) -> Tokens:
        """Keys and values of all style pictures, one after the other.

        Args:
            styles: features (1, in_ch, h, w) and keys (1, key_ch, h, w) of each.
            seed: of the places that are kept; the same ones for pictures of equal size.
        """
        keys, values = [], []
        for features, key in styles:
            k, v = self.g(key).flatten(2), self.h(features).flatten(2).mT
            if k.shape[2] > self.max_sample:
                order = torch.randperm(k.shape[2], generator=torch.Generator().manual_seed(seed))
                kept = order[: self.max_sample].to(k.device)
                k, v = k[:, :, kept], v[:, kept]
            keys.append(k)
            values.append(v)
        return Tokens(torch.cat(keys, dim=2), torch.cat(values, dim=1))

    def attend(self, content: Tensor, content_key: Tensor, tokens: Tokens) -> Tensor:
        """Features (B, in_ch, h, w) of a content in the style that the tokens are of."""
        return attended(content, self.f(content_key), tokens)

    def forward(self, content: Tensor, style: Tensor, content_key: Tensor, style_key: Tensor) -> Tensor:
        """The same with one style picture for each content, (B, in_ch, h', w') and (B, key_ch, h', w')."""
        tokens = Tokens(self.g(style_key).flatten(2), self.h(style).flatten(2).mT)
        return self.attend(content, content_key, tokens)


class Transformer(nn.Module):
    """Blocks at levels 4 and 5, put together.

    Args:
        in_ch: channels of both levels.
        key_ch: channels of the keys at level 4.
    """

    def __init__(self, in_ch: int, key_ch: int) -> None:
        super().__init__()
        self.attn_adain_4_1, self.attn_adain_5_1 = AdaAttN(in_ch, key_ch), AdaAttN(in_ch, key_ch + in_ch)
        self.merge_conv = nn.Conv2d(in_ch, in_ch, 3)

    def forward(self, four: Tensor, five: Tensor) -> Tensor:
        """Features at level 4 of the outputs of both blocks."""
        both = four + resized_to(F.interpolate(five, scale_factor=2, mode="nearest"), four)
        return self.merge_conv(F.pad(both, (1, 1, 1, 1), mode="reflect"))


class Decoder(nn.Module):
    """Pictures of features of levels 4 and 3.

    Args:
        widths: channels of the five levels.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        one, two, three, four, _ = widths

        def layer(into: int, out: int) -> list[nn.Module]:
            return [nn.ReflectionPad2d(1), nn.Conv2d(into, out, 3), nn.ReLU()]

        def up() -> nn.Module:
            return nn.Upsample(scale_factor=2, mode="nearest")

        self.decoder_layer_1 = nn.Sequential(*layer(four, three), up())
        self.decoder_layer_2 = nn.Sequential(
            *layer(2 * three, three), *layer(three, three), *layer(three, three), *layer(three, two), up(),
            *layer(two, two), *layer(two, one), up(), *layer(one, one), nn.ReflectionPad2d(1), nn.Conv2d(one, 3, 3),
        )  # fmt: skip

    def forward(self, four: Tensor, three: Tensor) -> Tensor:
        """Pictures (B, 3, 4 h, 4 w) of features at levels 4 and 3 (B, C, h, w)."""
        return self.decoder_layer_2(torch.cat([resized_to(self.decoder_layer_1(four), three), three], dim=1))


class StyleTransferNet(nn.Module):
    """Content pictures in the style of others, by one pass.

    Args:
        encoder: frozen; a new one of `widths` if None.
        widths: channels of the five levels; the last two alike.
        max_sample: places of a style picture that are attended to at level 3, at most.
    """

    def __init__(
        self, encoder: VGGEncoder | None = None, widths: Sequence[int] = VGG19, max_sample: int = MAX_SAMPLE
    ) -> None:
        super().__init__()
        if len(widths) != 5 or widths[3] != widths[4]:
            raise ValueError(f"widths: expected five numbers, the last two alike, found {list(widths)}")
        self.encoder = (VGGEncoder(widths) if encoder is None else encoder).requires_grad_(False)
        if self.encoder.widths != tuple(widths):
            raise ValueError(f"encoder: expected widths {list(widths)}, found {list(self.encoder.widths)}")
        self.adaattn_3 = AdaAttN(widths[2], sum(widths[:3]), max_sample)
        self.transformer, self.decoder = Transformer(widths[3], sum(widths[:4])), Decoder(widths)
        last = self.decoder.decoder_layer_2[-1]
        for layer in (self.transformer.merge_conv, *self.decoder.modules()):
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear" if layer is last else "relu")
                nn.init.zeros_(layer.bias)
        nn.init.constant_(last.bias, 0.5)  # begins with grey

    def tokens(self, styles: Sequence[Tensor], seed: int = 0) -> tuple[Tokens, Tokens, Tokens]:
        """What levels 3, 4 and 5 need of style pictures (1, 3, h, w); those of almost one colour are left out.

        Raises:
            ValueError: no pictures, or all are of almost one colour.
        """
        kept = [style for style in styles if style.std() >= LEAST_STD]
        if not kept:
            raise ValueError(f"styles: expected pictures of more than one colour, found {len(styles)} of almost one")
        features = [self.encoder.levels(style) for style in kept]
        blocks = (self.adaattn_3, self.transformer.attn_adain_4_1, self.transformer.attn_adain_5_1)
        three, four, five = (
            block.tokens([(levels[level - 1], key_features(levels, level)) for levels in features], seed)
            for level, block in zip((3, 4, 5), blocks, strict=True)
        )
        return three, four, five

    def stylise(self, content: Tensor, tokens: Sequence[Tokens]) -> Tensor:
        """Pictures (B, 3, H, W), not limited to [0, 1], in the style that the tokens are of."""
        return self.pictures(self.encoder.levels(content), tokens, content.shape[-2:])

    def pictures(self, levels: Sequence[Tensor], tokens: Sequence[Tokens], size: Sequence[int]) -> Tensor:
        """The same from features of the content, at a size (H, W)."""
        blocks = (self.adaattn_3, self.transformer.attn_adain_4_1, self.transformer.attn_adain_5_1)
        three, four, five = (
            block.attend(levels[level - 1], key_features(levels, level), told)
            for level, block, told in zip((3, 4, 5), blocks, tokens, strict=True)
        )
        return self.decoder(self.transformer(four, five), three)[..., : size[0], : size[1]]

    def forward(self, content: Tensor, styles: Sequence[Tensor], seed: int = 0) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1].

        Args:
            content: (B, 3, H, W) in [0, 1].
            styles: pictures (1, 3, h, w) in [0, 1], all for each content.
            seed: of the places that are attended to, where pictures are large.
        """
        return self.stylise(content, self.tokens(styles, seed)).clamp(0, 1)
