"""What an MFI encoder looks and listens through: a small tokeniser that learns with it, or a frozen CLIP.

Both give the tokens of four layers of a picture, shallow ones first, and the tokens of a phrase.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.image_tower import draw_weights
from representation.pretraining.clip.encoder import CLIPEncoder, prepare
from representation.pretraining.clip.image_towers import VisionTransformer
from representation.pretraining.clip.tokenizer import Tokenizer

LAYERS, MAP_SIDE = 4, 8


class PlaceNorm(nn.LayerNorm):
    """Layer normalisation of the channels of maps (B, C, H, W), at each place by itself."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps to maps."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SmallEyes(nn.Module):
    """Four convolutions and a table of words.

    Nothing is normalised over places: what is told of an object shall not depend on what is around it.

    Args:
        tokenizer: of the phrases.
        resolution: side of the pictures, pixels; a multiple of 8.
        vision_dim: numbers of a visual token.
        text_dim: numbers of a token of text.
        context_length: tokens of a phrase, both ends counted; longer ones are cut.
    """

    def __init__(
        self, tokenizer: Tokenizer, resolution: int, vision_dim: int, text_dim: int, context_length: int
    ) -> None:
        super().__init__()
        if resolution < 8 * MAP_SIDE or resolution % 8:
            raise ValueError(f"resolution: expected a multiple of 8, at least {8 * MAP_SIDE}, found {resolution}")
        self.tokenizer, self.resolution, self.context_length = tokenizer, resolution, context_length
        self.vision_dim, self.text_dim = vision_dim, text_dim
        channels, stages = 3, []
        for kernel, stride in ((5, 4), (3, 2), (3, 1), (3, 1)):
            conv = nn.Conv2d(channels, vision_dim, kernel, stride, kernel // 2)
            stages.append(nn.Sequential(conv, PlaceNorm(vision_dim), nn.GELU()))
            channels = vision_dim
        self.stages = draw_weights(nn.ModuleList(stages), None)
        self.places = nn.Parameter(torch.randn(LAYERS, MAP_SIDE**2, vision_dim) * 0.02)
        self.words = nn.Embedding(len(tokenizer), text_dim)

    def look(self, images: Tensor) -> list[Tensor]:
        """Tokens (B, 64, vision_dim) of four layers, of pictures (B, 3, R, R) in [0, 1]."""
        maps, found = 2 * images - 1, []
        for stage, places in zip(self.stages, self.places, strict=True):
            maps = stage(maps)
            found.append(F.adaptive_avg_pool2d(maps, MAP_SIDE).flatten(2).transpose(1, 2) + places)
        return found

    def features(self, images: Tensor) -> Tensor:
        """What pictures (B, 3, R, R) are like on the whole, (B, 2 vision_dim): the means of the last two maps."""
        return torch.cat([layer.mean(dim=1) for layer in self.look(images)[-2:]], dim=1)

    def listen(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T, text_dim) of ids (B, T)."""
        return self.words(tokens)


class ClipEyes(nn.Module):
    """A frozen CLIP with a vision transformer: blocks at 1/4, 1/2, 3/4 and all of its depth.

    Args:
        clip: a trained one.

    Raises:
        ValueError: its image tower is a residual network, or has fewer blocks than four.
    """

    def __init__(self, clip: CLIPEncoder) -> None:
        super().__init__()
        tower, config = clip.model.visual, clip.model.config
        if not isinstance(tower, VisionTransformer) or len(tower.transformer.resblocks) < LAYERS:
            raise ValueError(f"clip: expected a vision transformer of at least {LAYERS} blocks, found another tower")
        self.clip = clip.requires_grad_(False)
        self.tokenizer, self.resolution = clip.tokenizer, config.image_resolution
        self.context_length = config.context_length
        self.vision_dim, self.text_dim = tower.class_embedding.numel(), config.transformer_width
        depth = len(tower.transformer.resblocks)
        self._taken = [depth * (number + 1) // LAYERS - 1 for number in range(LAYERS)]

    @torch.no_grad()
    def look(self, images: Tensor) -> list[Tensor]:
        """Tokens (B, N, vision_dim) of four layers, of pictures (B, 3, R, R) in [0, 1]."""
        seen: list[Tensor] = []
        blocks = self.clip.model.visual.transformer.resblocks
        hooks = [blocks[k].register_forward_hook(lambda _block, _inputs, out: seen.append(out)) for k in self._taken]
        try:
            self.clip.model.encode_image(prepare(images, self.resolution))
        finally:
            for hook in hooks:
                hook.remove()
        return seen

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Embeddings (B, E) of pictures (B, 3, R, R)."""
        return self.clip.encode(images)

    @torch.no_grad()
    def listen(self, tokens: Tensor) -> Tensor:
        """What CLIP's text transformer makes of ids (B, T), (B, T, text_dim)."""
        model, length = self.clip.model, tokens.shape[1]
        x = model.token_embedding(tokens) + model.positional_embedding[:length]
        causal = torch.full((length, length), -torch.inf, device=x.device, dtype=x.dtype).triu(1)
        return model.ln_final(model.transformer(x, causal))


def phrase_tokens(eyes: SmallEyes | ClipEyes, phrases: Sequence[str]) -> Tensor:
    """Ids (B, T) of phrases between their two ends, 0 behind; T is that of the longest. An empty phrase has no end."""
    ids = eyes.tokenizer(list(phrases), eyes.context_length, truncate=True)
    longest = int((ids == eyes.tokenizer.end).int().argmax(dim=1).max()) + 1
    ids[[not phrase.strip() for phrase in phrases]] = 0
    return ids[:, :longest]
