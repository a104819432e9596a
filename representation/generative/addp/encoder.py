"""`ADDPEncoder`: what each of the three stages leaves, as an `Encoder` of pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.generative.addp.model import ADDP
from representation.generative.addp.predictor import DROPOUT, MaskedTokenPredictor
from representation.generative.addp.tokenizer import VQTokenizer
from representation.generative.addp.transformers import DecoderConfig, EncoderConfig
from representation.interface import Modality
from representation.pretraining.small_encoder import resized

SYSTEM = "addp"
Stage = Literal["tokenizer", "predictor", "addp"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True)
class Config:
    """Stage and sizes, small enough for a CPU.

    What an earlier stage has trained keeps the sizes that it was trained with; those given here then do not count.

    Attributes:
        stage: what is trained: tokenizer, then predictor, then addp.
        start: directory of the encoder, or of the run, of the stage before.
        resolution: side of the pictures, pixels; 256 in the paper. The tokenizer's.
        codebook: codes K; 1,024 in the paper. The tokenizer's, as all down to `groups`.
        dim: numbers of a code; 256.
        ch: channels of the largest maps; 128.
        ch_mult: factors of the channels of each level; a token has 2 to the power of the levels less one pixels a side.
        blocks: residual blocks of a level; 2.
        groups: of the group norms; 32.
        entropy: weight of the tokenizer's loss that spreads what it sees over all codes, see `VQTokenizer.loss`.
        predictor_width: numbers of the predictor's tokens; 768. The predictor's, as all down to `classes`.
        predictor_depth: blocks of its encoder; 12.
        predictor_heads: of its attention; 12.
        predictor_decoder_depth: blocks of its decoder; 8.
        predictor_decoder_heads: of its attention; 16.
        classes: words for classes of pictures that its vocabulary has; 1,000, of which one is used.
        width: numbers D of the encoder's features; 768 (base) or 1,024 (large).
        depth: blocks of the encoder; 12 or 24.
        heads: of its attention; 12 or 16.
        decoder_depth: blocks of the decoder; 8.
        decoder_heads: of its attention; 16.
        dropout: in training, of predictor and ADDP.
        smallest_crop: side of the smallest square that training takes of a picture, as a share; 0.45 in the paper.
        flip: share of the pictures that training mirrors; 0.5 in the paper, but left is not right to a robot.
    """

    stage: Stage = "tokenizer"
    start: str = ""
    resolution: int = 64
    codebook: int = 128
    dim: int = 16
    ch: int = 16
    ch_mult: tuple[int, ...] = (1, 1, 2, 4)
    blocks: int = 1
    groups: int = 8
    entropy: float = 0.0
    predictor_width: int = 96
    predictor_depth: int = 4
    predictor_heads: int = 4
    predictor_decoder_depth: int = 2
    predictor_decoder_heads: int = 4
    classes: int = 1
    width: int = 96
    depth: int = 4
    heads: int = 4
    decoder_depth: int = 2
    decoder_heads: int = 4
    dropout: float = DROPOUT
    smallest_crop: float = 1.0
    flip: float = 0.0

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ValueError(f"stage: expected one of {', '.join(STAGES)}, found {self.stage!r}")
        if self.classes < 1 or self.resolution % self.patch:
            raise ValueError(
                f"classes, resolution: expected 1 or more, and a multiple of {self.patch} pixels, found {self.classes} "
                f"and {self.resolution}"
            )

    @property
    def patch(self) -> int:
        """Side of what becomes a token, pixels."""
        return 2 ** (len(self.ch_mult) - 1)


class ADDPEncoder(nn.Module):
    """An `Encoder` and `DenseEncoder` of pictures, and what else its stage can do.

    Its vectors are means over places: of the tokenizer's latents, of the predictor's features of the codes, or of
    ADDP's features of the pixels.

    Args:
        config: with the stage.
        seed: of the weights.

    Attributes:
        tokenizer: of any stage.
        predictor: of a stage that has one; None before.
        model: ADDP; None before its stage.
    """

    modality: Modality = "image"

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__()
        self.config = replace(config, start="")
        self.width = {"tokenizer": config.dim, "predictor": config.predictor_width, "addp": config.width}[config.stage]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tokenizer = VQTokenizer(
                config.codebook, config.dim, config.ch, config.ch_mult, config.blocks, config.groups
            )
            predictor, model = None, None
            if config.stage != "tokenizer":
                predictor = MaskedTokenPredictor(
                    config.codebook,
                    config.resolution // config.patch,
                    config.predictor_width,
                    config.predictor_depth,
                    config.predictor_heads,
                    config.predictor_decoder_depth,
                    config.predictor_decoder_heads,
                    config.classes,
                    config.dropout,
                )
                tokenizer.requires_grad_(False)
            if config.stage == "addp":
                encoder = EncoderConfig(
                    config.resolution, config.patch, config.width, config.depth, config.heads, config.dropout
                )
                decoder = DecoderConfig(config.decoder_depth, config.decoder_heads, config.dropout)
                model = ADDP(encoder, decoder, tokenizer, predictor)
        # The model of the last stage holds the other two.
        parts = {"model": model} if model is not None else {"tokenizer": tokenizer, "predictor": predictor}
        self.parts = nn.ModuleDict({name: part for name, part in parts.items() if part is not None})

    @property
    def model(self) -> ADDP | None:
        """See the class."""
        return getattr(self.parts, "model", None)

    @property
    def tokenizer(self) -> VQTokenizer:
        """See the class."""
        return self.parts["tokenizer"] if self.model is None else self.model.tokenizer

    @property
    def predictor(self) -> MaskedTokenPredictor | None:
        """See the class."""
        return getattr(self.parts, "predictor", None) if self.model is None else self.model.predictor

    def maps(self, images: Tensor) -> Tensor:
        """What is at each place (B, width, h, w) of pictures (B, 3, H, W) in [0, 1]."""
        x = resized(images, self.config.resolution)
        if self.model is not None:
            features = self.model.features(x)
        elif self.predictor is not None:
            features = self.predictor.features(self.tokenizer.encode(x)[0])
        else:
            return self.tokenizer.encoder(x)
        side = self.config.resolution // self.config.patch
        return features[:, 1:].mT.unflatten(-1, (side, side))

    def encode(self, inputs: Tensor) -> Tensor:
        """Vectors (B, width) of pictures (B, 3, H, W) in [0, 1]: the means of `maps`."""
        return self.maps(inputs).mean(dim=(2, 3))

    def dense(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `maps`.

        Returns:
            The maps, and how far each place (B, h, w) is from the mean of its picture.
        """
        found = self.maps(images)
        return found, (found - found.mean(dim=(2, 3), keepdim=True)).norm(dim=1)

    def features(self, images: Tensor) -> Tensor:
        """See `ADDP.features`; pictures (B, 3, H, W) of any size.

        Raises:
            ValueError: of an earlier stage.
        """
        return self.trained().features(resized(images, self.config.resolution))

    def trained(self) -> ADDP:
        """The model of the last stage.

        Raises:
            ValueError: of an earlier stage.
        """
        if self.model is None:
            raise ValueError(f"encoder: expected one of stage addp, found one of stage {self.config.stage}")
        return self.model

    def save(self, directory: Path) -> None:
        """Write the encoder, with all that its stage was trained with."""
        save_encoder(self, SYSTEM, self.config, directory)


def load(directory: Path) -> ADDPEncoder:
    """Read an encoder that was saved; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    try:
        fields = dict(read_config(directory)["config"])
        encoder = ADDPEncoder(Config(**(fields | {"ch_mult": tuple(fields["ch_mult"])})))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{directory}: expected the configuration of {SYSTEM}: {error}") from error
    load_weights(encoder, directory)
    return encoder.eval()
