"""What is compared: anything that gives features of pictures. One protocol, and adapters of encoders of all kinds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from representation.interface import Encoder

Pooling = Literal["avg", "token", "mean"]
LEVELS = 4
_DRY_RUN_SIDE = 64  # pixels of the picture with which layers are looked for


@runtime_checkable
class FeatureBackend(Protocol):
    """An encoder under test; an `nn.Module`, so that it can be trained on.

    Attributes:
        embed_dim: numbers D of a feature.
    """

    embed_dim: int

    def forward_features(self, images: Tensor) -> Tensor:
        """Tokens (B, N, D) or vectors (B, D) of pictures (B, 3, H, W)."""
        ...

    def feature_pyramid(self, images: Tensor) -> list[Tensor]:
        """Maps (B, C, h, w) of pictures, finest first; the last one holds the patch features that reports are of."""
        ...


def pooled(features: Tensor, how: Pooling) -> Tensor:
    """One vector (B, D) of each picture.

    Args:
        features: (B, N, D) tokens, or (B, D), which stay as they are.
        how: "avg" leaves out token 0, the class token; "token" takes it alone; "mean" is over all tokens.
    """
    if features.ndim == 2:
        return features
    if features.ndim != 3:
        raise ValueError(f"features: expected (B, N, D) or (B, D), found {tuple(features.shape)}")
    if how == "token":
        return features[:, 0]
    if how == "avg" and features.shape[1] < 2:
        raise ValueError("pooling avg: expected a class token and others, found one token")
    return (features[:, 1:] if how == "avg" else features).mean(dim=1)


def batch_first(features: Tensor) -> Tensor:
    """Maps (B, C, H, W) as tokens (B, H W, C); of one place, as vectors (B, C)."""
    return features.flatten(1) if features.shape[-2:] == (1, 1) else features.flatten(2).transpose(1, 2)


def tokens_to_map(tokens: Tensor) -> Tensor:
    """Tokens (B, N, D) of a square of patches, with or without a class token in front, as a map (B, D, h, w).

    Raises:
        ValueError: they are of no square.
    """
    count = tokens.shape[1]
    side = int(count**0.5)
    if side * side == count - 1:
        tokens = tokens[:, 1:]
    elif side * side != count:
        raise ValueError(f"tokens: expected a square of them, one more or not, found {count}")
    return tokens.transpose(1, 2).unflatten(2, (side, side))


@contextmanager
def outputs_of(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Catches what some layers give while a model runs; of a layer that runs twice, the last."""
    found: dict[str, Tensor] = {}

    def catch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                found.pop(name, None)
                found[name] = output

        return hook

    handles = [model.get_submodule(name).register_forward_hook(catch(name)) for name in names]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """A model in evaluation mode for a while, without gradients."""
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training


class NamedLayerBackend(nn.Module):
    """A network of convolutions up to a named child, as torchvision's residual networks.

    Args:
        model: runs on pictures; has children by name.
        output_layer: whose output the features are: `avgpool`, `layer4`...
        pyramid_layers: whose outputs the maps are, finest first.
        average: whether the features are averaged over all places, as `layer4` wants for classification.

    Raises:
        ValueError: a layer is not there, or gives no maps.
    """

    def __init__(
        self,
        model: nn.Module,
        output_layer: str = "avgpool",
        pyramid_layers: Sequence[str] = ("layer1", "layer2", "layer3", "layer4"),
        average: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.output_layer, self.average = model, output_layer, average
        self.pyramid_layers = tuple(pyramid_layers)
        known = dict(model.named_modules())
        missing = [name for name in (output_layer, *pyramid_layers) if name not in known]
        if missing:
            raise ValueError(f"layers: expected {missing}, found {[name for name, _ in model.named_children()]}")
        with evaluating(model):
            self.embed_dim = self.forward_features(torch.zeros(1, 3, _DRY_RUN_SIDE, _DRY_RUN_SIDE)).shape[-1]

    def forward_features(self, images: Tensor) -> Tensor:
        """Tokens (B, h w, D) of the named layer, or vectors (B, D) where it has one place, or they are averaged."""
        with outputs_of(self.model, [self.output_layer]) as found:
            self.model(images)
        features = found[self.output_layer]
        if features.ndim != 4:
            raise ValueError(f"{self.output_layer}: expected maps (B, C, h, w), found {tuple(features.shape)}")
        return features.mean(dim=(2, 3)) if self.average else batch_first(features)

    def feature_pyramid(self, images: Tensor) -> list[Tensor]:
        """Maps of the named layers."""
        with outputs_of(self.model, self.pyramid_layers) as found:
            self.model(images)
        return [found[name] for name in self.pyramid_layers]


class HuggingFaceBackend(nn.Module):
    """A vision model of transformers: a transformer of patches, or a residual network.

    Args:
        model: `AutoModel.from_pretrained(directory)`, which takes `pixel_values`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        sizes = getattr(model.config, "hidden_sizes", None)
        self.embed_dim = sizes[-1] if sizes else model.config.hidden_size

    def forward_features(self, images: Tensor) -> Tensor:
        """Tokens (B, N, D) of the last layer."""
        features = self.model(pixel_values=images).last_hidden_state
        return batch_first(features) if features.ndim == 4 else features

    def feature_pyramid(self, images: Tensor) -> list[Tensor]:
        """Maps of four layers, see `spread_blocks`, or of all stages but the stem."""
        states = self.model(pixel_values=images, output_hidden_states=True).hidden_states[1:]
        if states[0].ndim == 4:
            return list(states[-LEVELS:])
        return [tokens_to_map(states[place]) for place in spread_blocks(len(states))]


def spread_blocks(depth: int) -> list[int]:
    """Numbers of four blocks at 1/3, 1/2, 2/3 and the end of a transformer: 3, 5, 7 and 11 of twelve."""
    return [max(1, round(depth * share)) - 1 for share in (1 / 3, 1 / 2, 2 / 3, 1)]


class EncoderBackend(nn.Module):
    """An encoder of pictures of this repository.

    Its features are its vectors. Its maps are looked for once, in a dry run: of each resolution that its layers give
    maps in, the output with the most channels that comes last, as the stages of residual networks; of a transformer,
    the tokens of four blocks. At most the four coarsest are taken. Without any, its vector is a map of one place.

    Args:
        encoder: takes pictures in [0, 1] of any size.

    Raises:
        ValueError: it takes no pictures, or is not trained by gradients.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        if getattr(encoder, "modality", None) != "image" or not isinstance(encoder, nn.Module):
            raise ValueError(
                f"encoder: expected a network of pictures, found {type(encoder).__name__} of "
                f"{getattr(encoder, 'modality', 'unknown things')}"
            )
        self.encoder, self.embed_dim = encoder, encoder.width
        self.layers = _map_layers(encoder)

    def forward_features(self, images: Tensor) -> Tensor:
        """Vectors (B, D)."""
        return self.encoder.encode(images)

    def feature_pyramid(self, images: Tensor) -> list[Tensor]:
        """Maps, finest first."""
        if not self.layers:
            return [self.encoder.encode(images)[:, :, None, None]]
        with outputs_of(self.encoder, self.layers) as found:
            self.encoder.encode(images)
        outputs = [found[name] for name in self.layers]
        return [output if output.ndim == 4 else tokens_to_map(output) for output in outputs]


def _map_layers(encoder: Any) -> list[str]:
    names = [name for name, _ in encoder.named_modules() if name]
    with evaluating(encoder), outputs_of(encoder, names) as found:
        # Two pictures, so that what has a leading dimension of another kind is not taken for a batch.
        encoder.encode(torch.zeros(2, 3, _DRY_RUN_SIDE, _DRY_RUN_SIDE))
    chosen: dict[int, str] = {}
    for name, output in found.items():
        if output.ndim == 4 and len(output) == 2 and output.shape[2] == output.shape[3] > 1:
            side = output.shape[2]
            if side not in chosen or output.shape[1] >= found[chosen[side]].shape[1]:
                chosen[side] = name
    blocks = _token_blocks(encoder, found)
    if len(blocks) > 1:
        return [blocks[place] for place in spread_blocks(len(blocks))]
    return [chosen[side] for side in sorted(chosen, reverse=True)][-LEVELS:]


def _token_blocks(encoder: Any, found: dict[str, Tensor]) -> list[str]:
    """Names of the members of the longest list of modules whose outputs are tokens of a square of patches."""
    best: list[str] = []
    for name, part in encoder.named_modules():
        if not isinstance(part, nn.ModuleList | nn.Sequential):
            continue
        blocks = [f"{name}.{number}" for number, _ in part.named_children()]
        if len(blocks) > len(best) and all(_are_tokens(found.get(block)) for block in blocks):
            best = blocks
    return best


def _are_tokens(output: Tensor | None) -> bool:
    if output is None or output.ndim != 3 or len(output) != 2 or output.shape[1] < 4:
        return False
    side = int(output.shape[1] ** 0.5)
    return side * side in (output.shape[1], output.shape[1] - 1)
