"""`CLIPConfig`: sizes of both towers, and how they follow from a state dict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Activation = Literal["quick_gelu", "gelu"]
HEAD_WIDTH = 64
RESNET_STRIDE = 32


@dataclass(frozen=True)
class CLIPConfig:
    """Sizes of a `CLIP`.

    Attributes:
        embed_dim: numbers E of an embedding.
        image_resolution: side of the pictures, pixels.
        vision_layers: blocks of a vision transformer, or of each of the four stages of a residual network.
        vision_width: width of the transformer, or channels of the residual network's first stage.
        vision_patch_size: side of a patch, pixels; None for a residual network.
        context_length: tokens of a text, padding and both ends counted.
        vocab_size: number of tokens.
        transformer_width: width of the text transformer.
        transformer_heads: its attention heads.
        transformer_layers: its blocks.
        activation: of the blocks. The released models have "quick_gelu", x * sigmoid(1.702 x); weights do not tell.
    """

    embed_dim: int
    image_resolution: int
    vision_layers: int | tuple[int, int, int, int]
    vision_width: int
    vision_patch_size: int | None
    context_length: int
    vocab_size: int
    transformer_width: int
    transformer_heads: int
    transformer_layers: int
    activation: Activation = "quick_gelu"

    def __post_init__(self) -> None:
        is_transformer = self.vision_patch_size is not None
        if is_transformer != isinstance(self.vision_layers, int):
            raise ValueError(
                f"vision_layers: expected {'a number' if is_transformer else 'four numbers'} with vision_patch_size "
                f"{self.vision_patch_size}, found {self.vision_layers}"
            )
        step = self.vision_patch_size or RESNET_STRIDE
        if self.image_resolution % step:
            raise ValueError(f"image_resolution: expected a multiple of {step}, found {self.image_resolution}")
        if self.transformer_width % self.transformer_heads:
            raise ValueError(
                f"transformer_width: expected a multiple of {self.transformer_heads} heads, "
                f"found {self.transformer_width}"
            )
        if self.activation not in ("quick_gelu", "gelu"):
            raise ValueError(f"activation: expected quick_gelu or gelu, found {self.activation!r}")


def config_of(state: Mapping[str, Tensor], activation: Activation = "quick_gelu") -> CLIPConfig:
    """The configuration whose state dict has these shapes, under the released names.

    Raises:
        ValueError: a tensor that tells a size is missing; names it.
    """
    try:
        return CLIPConfig(
            **(_transformer_sizes(state) if "visual.proj" in state else _resnet_sizes(state)),
            embed_dim=state["text_projection"].shape[1],
            context_length=state["positional_embedding"].shape[0],
            vocab_size=state["token_embedding.weight"].shape[0],
            transformer_width=state["ln_final.weight"].shape[0],
            transformer_heads=max(1, state["ln_final.weight"].shape[0] // HEAD_WIDTH),
            transformer_layers=_count(state, "transformer.resblocks."),
            activation=activation,
        )
    except KeyError as error:
        raise ValueError(f"state dict: expected the tensors of a CLIP, found none named {error}") from None


def _transformer_sizes(state: Mapping[str, Tensor]) -> dict:
    width, _, _, patch = state["visual.conv1.weight"].shape
    side = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    return {
        "image_resolution": patch * side,
        "vision_layers": _count(state, "visual.transformer.resblocks."),
        "vision_width": width,
        "vision_patch_size": patch,
    }


def _resnet_sizes(state: Mapping[str, Tensor]) -> dict:
    side = round((state["visual.attnpool.positional_embedding"].shape[0] - 1) ** 0.5)
    return {
        "image_resolution": RESNET_STRIDE * side,
        "vision_layers": tuple(_count(state, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)),
        "vision_width": state["visual.layer1.0.conv1.weight"].shape[0],
        "vision_patch_size": None,
    }


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Number of blocks whose names begin with a prefix and then have the block's number."""
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})
