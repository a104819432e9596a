"""The encoders in a policy's directory: where they lie, and which of the text encoders it is."""

from __future__ import annotations

from pathlib import Path

from policies.parameters import Dtype
from policies.rdt.embedding_folder import EmbeddingFolder
from policies.rdt.encoder_tower import TOWER_FILE, EncoderTower
from policies.rdt.image_tower import SiglipTower
from policies.rdt.language import T5TextEncoder, TextEncoder
from policies.rdt.word_encoder import WORDS_FILE, WordEncoder

TOWER, TEXT_ENCODER, EMBEDDINGS = "image_tower", "text_encoder", "embeddings"


def has_own_encoders(directory: Path) -> bool:
    """Whether the policy of a directory was trained with its image tower and words, rather than with frozen ones."""
    return (directory / TEXT_ENCODER / WORDS_FILE).is_file()


def load_tower(directory: Path, dtype: Dtype = "stored") -> SiglipTower | EncoderTower:
    """The image tower of a policy, frozen.

    Args:
        directory: of the policy.
        dtype: number format of a SigLIP's weights; encoders of `representation/` keep their own.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.
    """
    if (directory / TOWER / TOWER_FILE).is_file():
        return EncoderTower.from_directory(directory / TOWER).requires_grad_(False)
    return SiglipTower.from_directory(directory / TOWER, dtype)


def load_text_encoder(directory: Path, width: int) -> TextEncoder:
    """The text encoder of a policy: `embeddings/` if it is there, otherwise the words or the T5 of `text_encoder/`.

    Args:
        directory: of the policy.
        width: numbers of a token that the network expects of embeddings.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.
    """
    if (directory / EMBEDDINGS).is_dir():
        return EmbeddingFolder(directory / EMBEDDINGS, width)
    if has_own_encoders(directory):
        return WordEncoder.from_directory(directory / TEXT_ENCODER)
    return T5TextEncoder.from_directory(directory / TEXT_ENCODER)
