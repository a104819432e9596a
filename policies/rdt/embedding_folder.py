"""`EmbeddingFolder`: instructions that were encoded beforehand, in place of a text encoder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import Tensor

from policies.rdt.embedding_files import read_embedding, write_embedding

SUFFIXES = (".safetensors", ".pt")


class EmbeddingFolder:
    """A `TextEncoder` that knows the instructions whose embeddings lie in a directory.

    A file that does not tell its instruction is called by it: `pick_up_the_cup.pt` holds "pick up the cup". Letter
    case, and a full stop at the end, make no difference.

    Args:
        directory: of the files; see `read_embedding`.
        width: numbers of a token.

    Raises:
        FileNotFoundError: no embeddings there.
        ValueError: a damaged file, or two with one instruction; names them.
    """

    def __init__(self, directory: str | Path, width: int) -> None:
        self.width = width
        self.texts: dict[str, str] = {}
        self._embeddings: dict[str, Tensor] = {}
        directory = Path(directory)
        paths = sorted(path for path in directory.glob("*") if path.suffix in SUFFIXES)
        if not paths:
            raise FileNotFoundError(f"{directory}: expected embeddings of instructions, found none")
        digest = hashlib.sha256()
        for path in paths:
            stored = read_embedding(path, width)
            text = path.stem.replace("_", " ") if stored.instruction is None else stored.instruction
            if _plain(text) in self.texts:
                raise ValueError(f"{path}: expected one embedding of {text!r}, found another before it")
            self.texts[_plain(text)] = text
            self._embeddings[_plain(text)] = stored.tokens
            digest.update(path.read_bytes())
        self.identity = f"folder-{digest.hexdigest()}"

    def __call__(self, text: str) -> Tensor:
        """Embedding (L, width) of an instruction.

        Raises:
            ValueError: an instruction that was not encoded; lists those that were.
        """
        if _plain(text) not in self._embeddings:
            known = sorted(self.texts.values())
            raise ValueError(f"instruction: expected one of {known[:20]} ({len(known)} were encoded), found {text!r}")
        return self._embeddings[_plain(text)]

    def save_pretrained(self, directory: str | Path) -> None:
        """Write every embedding as safetensors."""
        for plain, text in self.texts.items():
            name = hashlib.sha256(plain.encode()).hexdigest()[:16]
            write_embedding(Path(directory) / f"{name}.safetensors", self._embeddings[plain], text, self.identity)


def _plain(text: str) -> str:
    return text.strip().removesuffix(".").casefold()
