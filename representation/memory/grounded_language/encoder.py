"""`LanguageEncoder`: a sender as an `Encoder` of pictures, whose vectors are its messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.interface import Modality
from representation.memory.grounded_language.message import Message
from representation.memory.grounded_language.sender import SymbolSender
from representation.memory.grounded_language.vision import PictureNet
from representation.pretraining.small_encoder import resized

SYSTEM = "grounded_language"


@dataclass(frozen=True)
class Config:
    """A language of 16 symbols in messages of 4; large sets of sketches want 100 in messages of 8 to 10.

    Attributes:
        resolution: side of the pictures, pixels.
        pools: times that the network that sees halves them.
        hidden: numbers of its vectors, and of the states of sender and receiver.
        vocab_size: symbols.
        max_len: symbols of a message.
        end_symbol: whether symbol 0 ends a message.
        temperature: of the draws of symbols.
        game: "classes" looks for another picture of the class, "pictures" for the same picture.
        classes: pictures among which is looked for, at most; those of a batch in the game of pictures.
        groups: in the game of classes, so many draws of pairs from each batch.
        balance: weight of how unevenly symbols are used.
        shift: largest random shift, as a share of the side.
        turn: largest random turn, rad.
    """

    resolution: int = 32
    pools: int = 2
    hidden: int = 64
    vocab_size: int = 16
    max_len: int = 4
    end_symbol: bool = False
    temperature: float = 1.0
    game: Literal["classes", "pictures"] = "classes"
    classes: int = 10
    groups: int = 3
    balance: float = 0.0
    shift: float = 0.05
    turn: float = 0.1


class LanguageEncoder(nn.Module):
    """An `Encoder` of pictures; two vectors agree, by cosine, in the share of their messages' positions.

    Args:
        config: sizes.
    """

    modality: Modality = "image"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.width = config, config.max_len * config.vocab_size
        vision = PictureNet(3, config.hidden, config.pools)
        self.sender = SymbolSender(
            vision,
            config.hidden,
            config.vocab_size,
            config.max_len,
            config.temperature,
            end_symbol=config.end_symbol,
        )

    def prepared(self, inputs: Tensor) -> Tensor:
        """Pictures (B, 3, R, R), as the sender sees them, of pictures (B, 3, H, W)."""
        return resized(inputs, self.config.resolution)

    def message(self, inputs: Tensor) -> Message:
        """What is said of pictures (B, 3, H, W) in [0, 1]."""
        return self.sender(self.prepared(inputs))

    def encode(self, inputs: Tensor) -> Tensor:
        """Messages as one-hot vectors (B, L V) of pictures (B, 3, H, W) in [0, 1]."""
        return self.message(inputs).onehot.flatten(1)

    def save(self, directory: Path) -> None:
        """Write the encoder."""
        save_encoder(self, SYSTEM, self.config, directory)


def load(directory: Path) -> LanguageEncoder:
    """Read what `LanguageEncoder.save` wrote; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    try:
        encoder = LanguageEncoder(Config(**read_config(directory)["config"]))
    except TypeError as error:
        raise ValueError(f"{directory}: expected the configuration of {SYSTEM}: {error}") from error
    load_weights(encoder, directory)
    return encoder.eval()
