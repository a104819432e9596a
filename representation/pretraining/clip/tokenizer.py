"""`Tokenizer`: CLIP's byte-pair encoding of lower-cased text, from any of the files that it is published in.

The vocabulary is: 256 bytes as printable characters, the same at the end of a word, one entry per merge, and the two
ends of a text. The published one has 48,894 merges, 49,408 entries in all.
"""

from __future__ import annotations

import gzip
import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import ftfy
import torch
from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as BytePairs
from tokenizers.models import BPE
from torch import Tensor

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
CONTEXT_LENGTH = 77
PUBLISHED_MERGES = 48_894
TOKENIZER_FILE = "tokenizer.json"
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class Tokenizer:
    """Texts to token ids.

    Args:
        pairs: what encodes a text without its ends.
    """

    def __init__(self, pairs: BytePairs) -> None:
        self._pairs = pairs
        self.start, self.end = pairs.token_to_id(START), pairs.token_to_id(END)

    def __len__(self) -> int:
        return self._pairs.get_vocab_size()

    @classmethod
    def from_merges(cls, merges: Sequence[tuple[str, str]]) -> Tokenizer:
        """A tokenizer of some merges, in the order of their ranks."""
        alphabet = byte_alphabet()
        entries = [*alphabet, *(character + WORD_END for character in alphabet), *(a + b for a, b in merges)]
        model = BPE({entry: k for k, entry in enumerate(entries)}, list(merges), end_of_word_suffix=WORD_END)
        return cls(_with_ends(BytePairs(model)))

    @classmethod
    def from_file(cls, path: Path) -> Tokenizer:
        """Read one of the published files.

        Args:
            path: `bpe_simple_vocab_16e6.txt.gz`, `merges.txt`, `tokenizer.json`, or a directory with one of the last
                two, as models of transformers have it.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it holds no merges.
        """
        if path.is_dir():
            found = [path / name for name in (TOKENIZER_FILE, "merges.txt") if (path / name).is_file()]
            if not found:
                raise FileNotFoundError(f"{path}: expected {TOKENIZER_FILE} or merges.txt, found neither")
            path = found[0]
        if path.suffix == ".json":
            return cls(BytePairs.from_file(str(path)))
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            lines = file.read().splitlines()[1 : PUBLISHED_MERGES + 1]
        merges = [tuple(line.split()) for line in lines]
        if not merges or any(len(merge) != 2 for merge in merges):
            raise ValueError(f"{path}: expected a title and then two symbols in each line, found something else")
        return cls.from_merges(merges)

    @classmethod
    def fit(cls, texts: Iterable[str], vocab_size: int = 1024) -> Tokenizer:
        """Learn merges from texts: every word of a small set of sentences becomes one token."""
        pairs = _with_ends(BytePairs(BPE(end_of_word_suffix=WORD_END)))
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            initial_alphabet=byte_alphabet(),
            end_of_word_suffix=WORD_END,
            show_progress=False,
        )
        pairs.train_from_iterator(map(clean, texts), trainer)
        merges = [tuple(merge) for merge in _merges_of(pairs)]
        return cls.from_merges(merges)

    def encode(self, text: str) -> list[int]:
        """Ids of a text without its ends."""
        return self._pairs.encode(clean(text), add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, lower-cased, with a blank between words."""
        inner = [k for k in ids if k not in (self.start, self.end)]
        return self._pairs.decode(inner, skip_special_tokens=False).strip()

    def __call__(
        self, texts: str | Sequence[str], context_length: int = CONTEXT_LENGTH, truncate: bool = False
    ) -> Tensor:
        """Ids (B, context_length) of texts between their two ends, padded by zeros.

        Raises:
            ValueError: a text is too long and is not to be truncated.
        """
        texts = [texts] if isinstance(texts, str) else texts
        result = torch.zeros(len(texts), context_length, dtype=torch.long)
        for row, text in zip(result, texts, strict=True):
            ids = [self.start, *self.encode(text), self.end]
            if len(ids) > context_length:
                if not truncate:
                    raise ValueError(f"text: expected at most {context_length} tokens, found {len(ids)} in {text!r}")
                ids = [*ids[: context_length - 1], self.end]
            row[: len(ids)] = torch.tensor(ids)
        return result

    def save(self, directory: Path) -> None:
        """Write `tokenizer.json`."""
        self._pairs.save(str(directory / TOKENIZER_FILE))


def clean(text: str) -> str:
    """Mend broken characters, undo HTML, and have one blank between words in lower case."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()


def byte_alphabet() -> list[str]:
    """The character of each byte, in the order of the ids: printable bytes as themselves, then the others."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [chr(256 + k) for k in range(256 - len(printable))]


def _with_ends(pairs: BytePairs) -> BytePairs:
    pairs.normalizer = normalizers.Lowercase()
    pairs.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    pairs.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace(WORD_END, " ")])
    pairs.add_special_tokens([AddedToken(end, normalized=False) for end in (START, END)])
    return pairs


def _merges_of(pairs: BytePairs) -> list[Sequence[str]]:
    merges = json.loads(pairs.to_str())["model"]["merges"]
    return [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
