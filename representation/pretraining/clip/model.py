"""`CLIP`: an image and a text encoder that agree on what belongs together.

Source: Learning Transferable Visual Models From Natural Language Supervision, Radford et al., ICML 2021
(arXiv 2103.00020).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.pretraining.clip.config import CLIPConfig
from representation.pretraining.clip.image_towers import ModifiedResNet, VisionTransformer
from representation.pretraining.clip.transformer import Transformer

FIRST_SCALE = math.log(1 / 0.07)
LARGEST_SCALE = math.log(100.0)


class CLIP(nn.Module):
    """Two towers and the scale of their similarities.

    Args:
        config: sizes.
        generator: draws the first weights (section 2.5 of the paper's code release).
    """

    def __init__(self, config: CLIPConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.visual = _image_tower(config, generator)
        width = config.transformer_width
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(config.context_length, width, generator=generator))
        self.transformer = Transformer(
            width, config.transformer_layers, config.transformer_heads, config.activation, generator
        )
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(width**-0.5 * torch.randn(width, config.embed_dim, generator=generator))
        self.logit_scale = nn.Parameter(torch.tensor(FIRST_SCALE))
        self.register_state_dict_pre_hook(_limit_scale)
        nn.init.normal_(self.token_embedding.weight, std=0.02, generator=generator)

    def encode_image(self, images: Tensor) -> Tensor:
        """Embeddings (B, E), not normalised, of normalised pictures (B, 3, R, R)."""
        return self.visual(images)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embeddings (B, E), not normalised, of token ids (B, L), L at most the context.

        The embedding is read where the end of the text stands, which is the largest id.
        """
        length = tokens.shape[1]
        x = self.token_embedding(tokens) + self.positional_embedding[:length]
        causal = torch.full((length, length), -torch.inf, device=x.device, dtype=x.dtype).triu(1)
        x = self.ln_final(self.transformer(x, causal))
        return x[torch.arange(len(x)), tokens.argmax(dim=1)] @ self.text_projection

    def scale(self) -> Tensor:
        """The scale of the similarities, at most 100.

        The parameter itself is brought back after a step that went beyond, before it is used or written: a limit in the
        graph would leave it without a gradient, and what is exported would be read with another scale.
        """
        _limit_scale(self)
        return self.logit_scale.exp()

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled similarities of each picture to each text, (B, C), and their transpose."""
        u, v = F.normalize(self.encode_image(images), dim=-1), F.normalize(self.encode_text(tokens), dim=-1)
        logits = self.scale() * u @ v.T
        return logits, logits.T


@torch.no_grad()
def _limit_scale(model: CLIP, *_: object) -> None:
    model.logit_scale.clamp_(max=LARGEST_SCALE)


def clip_loss(u: Tensor, v: Tensor, scale: Tensor | float) -> Tensor:
    """Symmetric cross-entropy of telling which text belongs to which picture, and the reverse.

    Of k equal texts all but a picture's own count as wrong for it, so that the loss of its row is at best ln k.

    Args:
        u: (B, E) unit embeddings of pictures.
        v: (B, E) unit embeddings of their texts.
        scale: of the similarities.
    """
    logits, own = scale * u @ v.T, torch.arange(len(u), device=u.device)
    return 0.5 * (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own))


def _image_tower(config: CLIPConfig, generator: torch.Generator | None) -> VisionTransformer | ModifiedResNet:
    layers = config.vision_layers
    if config.vision_patch_size is not None and isinstance(layers, int):
        return VisionTransformer(
            config.image_resolution,
            config.vision_patch_size,
            config.vision_width,
            layers,
            config.embed_dim,
            config.activation,
            generator,
        )
    return ModifiedResNet(config.image_resolution, layers, config.vision_width, config.embed_dim, generator)
