"""`WordEncoder`: a small text encoder that is trained with the policy: one vector for each word that it has seen."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from policies.json_file import read_json

END, UNKNOWN = "<end>", "<unknown>"
WORDS_FILE, WEIGHTS_FILE = "words.json", "model.safetensors"
MAX_WORDS = 100_000
_WORD = re.compile(r"\w+|[^\w\s]")


class WordEncoder(nn.Module):
    """A `TextEncoder` with a table; a word that it does not know is `<unknown>`.

    Args:
        words: vocabulary, without `<end>` and `<unknown>`.
        width: numbers of a token.
    """

    def __init__(self, words: Sequence[str], width: int) -> None:
        super().__init__()
        self.width = width
        self.words = (END, UNKNOWN, *words)
        self._ids = {word: i for i, word in enumerate(self.words)}
        self.table = nn.Embedding(len(self.words), width)

    @property
    def identity(self) -> str:
        """Differs with the words and their vectors."""
        digest = hashlib.sha256(json.dumps(self.words).encode())
        digest.update(self.table.weight.detach().float().cpu().numpy().tobytes())
        return f"words-{digest.hexdigest()}"

    def ids(self, text: str) -> list[int]:
        """Numbers of the words of a text and of its end."""
        unknown = self._ids[UNKNOWN]
        return [*(self._ids.get(word, unknown) for word in words_of(text)), self._ids[END]]

    @torch.no_grad()
    def forward(self, text: str) -> Tensor:
        """Embedding (L, width) of a text; that of the empty text is its end alone."""
        return self.table(torch.tensor(self.ids(text), device=self.table.weight.device))

    def save_pretrained(self, directory: str | Path) -> None:
        """Write what `from_directory` reads."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / WORDS_FILE).write_text(json.dumps({"words": self.words[2:]}, indent=2) + "\n", encoding="utf-8")
        save_file({"table.weight": self.table.weight.detach().cpu().contiguous()}, directory / WEIGHTS_FILE)

    @classmethod
    def from_directory(cls, directory: str | Path) -> WordEncoder:
        """Load words and their vectors.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a damaged file, or words and vectors that do not fit each other; names the file.
        """
        directory = Path(directory)
        words = read_json(directory / WORDS_FILE).get("words")
        if not isinstance(words, list) or len(words) > MAX_WORDS or not all(isinstance(word, str) for word in words):
            raise ValueError(f"{directory / WORDS_FILE}: words: expected a list of at most {MAX_WORDS} words")
        path = directory / WEIGHTS_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{path}: expected the words' vectors, found no such file")
        table = load_file(path).get("table.weight")
        if table is None or table.ndim != 2 or len(table) != len(words) + 2 or not bool(torch.isfinite(table).all()):
            found = None if table is None else tuple(table.shape)
            raise ValueError(f"{path}: table.weight: expected {len(words) + 2} finite vectors, found {found}")
        encoder = cls(words, table.shape[1])
        encoder.table.weight = nn.Parameter(table, requires_grad=False)
        return encoder


def vocabulary(texts: Iterable[str]) -> list[str]:
    """Words of some texts, in alphabetical order."""
    return sorted({word for text in texts for word in words_of(text)})


def words_of(text: str) -> list[str]:
    """Words and signs of a text in lower case, without full stops."""
    return [word for word in _WORD.findall(text.lower()) if word != "."]
