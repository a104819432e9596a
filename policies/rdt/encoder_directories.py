"""The encoders in a policy's directory: where they lie, and which of the text encoders it is."""

from __future__ import annotations

from pathlib import Path

from policies.rdt.embedding_folder import EmbeddingFolder
from policies.rdt.language import T5TextEncoder, TextEncoder
from policies.rdt.word_encoder import WORDS_FILE, WordEncoder

TOWER, TEXT_ENCODER, EMBEDDINGS = "image_tower", "text_encoder", "embeddings"


def has_own_encoders(directory: Path) -> bool:
    """Whether the policy of a directory was trained with its image tower and words, rather than with frozen ones."""
    return (directory / TEXT_ENCODER / WORDS_FILE).is_file()


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
