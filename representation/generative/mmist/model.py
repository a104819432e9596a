"""`MMIST`: a generator of style pictures, a CLIP and a style transfer net, in one directory; `Look`: a style, found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import read_config, save_config
from representation.generative.mmist.directions import StyleSpec
from representation.generative.mmist.guided_filter import guided_filter
from representation.generative.mmist.inversion import CrossModalInverter, Generator
from representation.generative.mmist.style_transfer import MAX_SAMPLE, StyleTransferNet, Tokens
from representation.generative.mmist.texture_generator import TextureGenerator
from representation.generative.mmist.textures import words_of
from representation.pretraining.clip import CLIPEncoder
from representation.pretraining.clip import load as load_clip_encoder

SYSTEM = "mmist"
GENERATOR_FILE, TRANSFER_FILE, CLIP_DIRECTORY = "generator.safetensors", "style_transfer.safetensors", "clip"
FRAMES_AT_ONCE, LEAST_DEVIATION = 8, 0.02


@dataclass(frozen=True)
class MMISTConfig:
    """Sizes; the paper's are in brackets.

    Attributes:
        widths: channels of the five levels of the style transfer net (64, 128, 256, 512, 512).
        style_side: of style pictures, pixels (512).
        work_side: shorter side of frames while their style is changed, pixels (512); 0 keeps that of the frames.
        guide_radius: of the guided filter by which new frames get the edges of the old ones, pixels; 0 for none (0).
        grain: standard deviation of a fixed pattern that is laid on all frames of an episode first, so that even
            surfaces take on a texture (0).
        match_colours: whether means and deviations of the colours are made those of the style pictures afterwards, as
            narrow nets meet them badly (False).
        generator_width: channels of the small generator.
        w_dim: numbers of its latents.
        n_patches: patches by which a style is found (64).
        crop: their side, pixels of the style picture (256).
        steps: of the search (40).
        lr: of the search (0.05).
        n_candidates: latents that it may begin with (128).
        max_sample: places of a style picture that are attended to at level 3.
        words: that the CLIP has read in training; empty where it has read everything, as the released ones have.
    """

    widths: tuple[int, ...] = (8, 16, 32, 48, 48)
    style_side: int = 64
    work_side: int = 128
    guide_radius: int = 4
    grain: float = 0.04
    match_colours: bool = True
    generator_width: int = 24
    w_dim: int = 48
    n_patches: int = 16
    crop: int = 32
    steps: int = 40
    lr: float = 0.05
    n_candidates: int = 128
    max_sample: int = MAX_SAMPLE
    words: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if len(self.widths) != 5 or min(self.widths) < 1 or self.widths[3] != self.widths[4]:
            raise ValueError(f"widths: expected five numbers, the last two alike, found {list(self.widths)}")
        if self.crop > self.style_side or self.work_side < 0:
            raise ValueError(
                f"crop, work_side: expected at most {self.style_side}, and at least 0, found {self.crop}, "
                f"{self.work_side}"
            )


@dataclass(frozen=True)
class Look:
    """A style that was found.

    Attributes:
        name: how it was asked for.
        images: style pictures (n, 3, S, S) in [0, 1].
    """

    name: str
    images: Tensor

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.shape[1] != 3 or not len(self.images):
            raise ValueError(f"look {self.name!r}: expected images (n, 3, S, S), found {tuple(self.images.shape)}")


class Style(NamedTuple):
    """A look as frames are changed by it.

    Attributes:
        tokens: what levels 3, 4 and 5 attend to.
        mean: (3, 1, 1) of the colours of all style pictures.
        std: (3, 1, 1), likewise.
    """

    tokens: tuple[Tokens, Tokens, Tokens]
    mean: Tensor
    std: Tensor


class MMIST(nn.Module):
    """Finds looks and changes frames into them.

    Args:
        config: sizes.
        clip: encoder of pictures and texts.
        net: changes the style.
        generator: of style pictures; a `TextureGenerator` unless another one is at hand, such as StyleGAN3's.
    """

    def __init__(
        self, config: MMISTConfig, clip: CLIPEncoder, net: StyleTransferNet, generator: Generator | None
    ) -> None:
        super().__init__()
        self.config, self.clip, self.net, self.generator = config, clip, net, generator
        self.eval().requires_grad_(False)

    def inverter(self) -> CrossModalInverter:
        """What finds styles.

        Raises:
            ValueError: there is no generator.
        """
        if self.generator is None:
            raise ValueError(f"generator: expected one to find styles with, found no {GENERATOR_FILE}")
        config = self.config
        return CrossModalInverter(
            self.generator,
            self.clip.encode,
            self.text_features,
            config.n_patches,
            config.crop,
            config.steps,
            config.lr,
            config.n_candidates,
            side=config.style_side,
            patch_side=self.clip.model.config.image_resolution,
        )

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Features (T, E) of texts, not normalised."""
        model = self.clip.model
        tokens = self.clip.tokenizer(texts, model.config.context_length, truncate=True)
        return model.encode_text(tokens.to(model.text_projection.device))

    def find(self, name: str, spec: StyleSpec, contents: Tensor, n: int = 8, seed: int = 0) -> Look:
        """A look by `CrossModalInverter.invert`.

        Args:
            name: how it is called.
            spec: the style.
            contents: frames (N, 3, H, W) in [0, 1] of what it is for.
            n: style pictures.
            seed: of all draws.

        Raises:
            ValueError: words that the CLIP has not read; names them and some that it has.
        """
        self.check_words(spec)
        return Look(name, self.inverter().invert(spec, contents, n, seed))

    def check_words(self, spec: StyleSpec) -> None:
        """Refuse texts that the CLIP cannot understand. Raises ValueError, see `find`."""
        known = set(self.config.words)
        strange = sorted({word for text in spec.texts for word in words_of(text)} - known) if known else []
        if strange:
            raise ValueError(f"texts: expected words that this CLIP has read, {sorted(known)}, found {strange}")

    @torch.no_grad()
    def style(self, look: Look, seed: int = 0) -> Style:
        """What frames of one episode are changed by: made once, so that these stay alike.

        Args:
            look: the look.
            seed: of the places that are attended to; see `StyleTransferNet.tokens`.
        """
        images = look.images.to(next(self.net.parameters()))
        std, mean = torch.std_mean(images, dim=(0, 2, 3))
        return Style(self.net.tokens(images.split(1), seed), mean[:, None, None], std[:, None, None])

    @torch.no_grad()
    def restyle(self, frames: Tensor, style: Style, strength: float = 1.0, seed: int = 0) -> Tensor:
        """Frames of the same size in a look.

        Args:
            frames: (B, 3, H, W) in [0, 1].
            style: see `style`.
            strength: share of the new look, in [0, 1]; the rest is the frame.
            seed: of the grain; one for all frames of an episode.

        Raises:
            ValueError: no such frames, or no such share.
        """
        if frames.ndim != 4 or frames.shape[1] != 3 or not 0 <= strength <= 1:
            raise ValueError(
                f"frames, strength: expected (B, 3, H, W) and in [0, 1], found {tuple(frames.shape)}, {strength}"
            )
        size = frames.shape[-2:]
        scale = max(self.config.work_side, 1) / min(size) if self.config.work_side else 1.0
        sides = [round(scale * side) for side in size]
        pattern = self.config.grain * grain(size, seed).to(frames) if self.config.grain else 0.0
        found = []
        for part in frames.split(FRAMES_AT_ONCE):
            laid = (part + pattern).clamp(0, 1)
            sized = laid if scale == 1 else _sized(laid, sides)
            made = self.net.stylise(sized, style.tokens).clamp(0, 1)
            made = made if scale == 1 else _sized(made, list(size))
            if self.config.match_colours:
                std, mean = torch.std_mean(made, dim=(2, 3), keepdim=True)
                made = ((made - mean) / (std + LEAST_DEVIATION) * style.std + style.mean).clamp(0, 1)
            if self.config.guide_radius:
                made = guided_filter(laid, made, self.config.guide_radius)
            found.append((strength * made + (1 - strength) * part).clamp(0, 1))
        return torch.cat(found)

    def save(self, directory: Path) -> None:
        """Write what `load` reads."""
        save_config(SYSTEM, self.config, directory)
        save_file(_state(self.net), directory / TRANSFER_FILE)
        if isinstance(self.generator, TextureGenerator):
            save_file(_state(self.generator), directory / GENERATOR_FILE)
        self.clip.save(directory / CLIP_DIRECTORY)


def grain(size: Sequence[int], seed: int) -> Tensor:
    """Grey noise (1, 1, H, W) of a mean of 0 and a deviation of 1: four layers, each twice as fine as that before."""
    draws, total = torch.Generator().manual_seed(seed), torch.zeros(1, 1, *size)
    for level in range(4):
        cells = [max(2, round(side / 2 ** (4 - level))) for side in size]
        layer = torch.randn(1, 1, *cells, generator=draws)
        total = total + F.interpolate(layer, list(size), mode="bicubic", align_corners=False)
    return (total - total.mean()) / total.std()


def load(directory: Path, generator: Generator | None = None) -> MMIST:
    """Read a model, or the full-size weights, converted to the same files.

    Args:
        directory: with `encoder.json`, `style_transfer.safetensors` (names as in `style_transfer.py`), `clip/` and, if
            the generator is the small one, `generator.safetensors`.
        generator: another generator, in place of the small one.

    Raises:
        FileNotFoundError: no model there.
        ValueError: damaged; names the file.
    """
    content = dict(read_config(directory)["config"])
    try:
        content |= {name: tuple(content[name]) for name in ("widths", "words")}
        config = MMISTConfig(**content)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{directory}: expected the configuration of {SYSTEM}: {error}") from error
    net = StyleTransferNet(widths=config.widths, max_sample=config.max_sample)
    load_named(net, directory / TRANSFER_FILE)
    if generator is None and (directory / GENERATOR_FILE).is_file():
        small = TextureGenerator(config.style_side, config.generator_width, config.w_dim)
        load_named(small, directory / GENERATOR_FILE)
        generator = small
    return MMIST(config, load_clip_encoder(directory / CLIP_DIRECTORY), net, generator)


def load_named(module: nn.Module, file: Path) -> None:
    """Read the weights of a module; a VGG-19 may have layers beyond relu5_1, which are passed over.

    Raises:
        ValueError: names or shapes that do not fit; names the file and the first of them.
    """
    try:
        found = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{file}: expected weights: {error}") from error
    wanted = module.state_dict()
    for name, value in wanted.items():
        if name not in found or found[name].shape != value.shape:
            there = tuple(found[name].shape) if name in found else "none"
            raise ValueError(f"{file}: {name}: expected {tuple(value.shape)}, found {there}")
    module.load_state_dict({name: found[name] for name in wanted})


def save_looks(looks: Sequence[Look], file: Path) -> None:
    """Write looks, in their order, into a safetensors file whose metadata has their names."""
    state = {f"look_{number:03d}": look.images.detach().cpu().clone() for number, look in enumerate(looks)}
    names = {f"look_{number:03d}": look.name for number, look in enumerate(looks)}
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, file, names)


def load_looks(file: Path) -> list[Look]:
    """Read what `save_looks` wrote.

    Raises:
        ValueError: damaged or empty; names the file.
    """
    try:
        with safe_open(file, framework="pt") as content:
            names = content.metadata() or {}
            looks = [Look(names.get(key, key), content.get_tensor(key)) for key in sorted(content.keys())]
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{file}: expected looks: {error}") from error
    if not looks:
        raise ValueError(f"{file}: expected at least one look, found none")
    return looks


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}


def _sized(images: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(images, list(size), mode="bilinear", antialias=True, align_corners=False)
