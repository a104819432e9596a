"""Reports as numbers of words and back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

UNKNOWN = "<unk>"
END = 0
"""Begins, ends and fills up every report."""

_SENTENCES, _WORDS = re.compile(r"[.\n]+"), re.compile(r"[a-z0-9]+")


def words_of(report: str) -> list[str]:
    """Words of a report in lower case, without marks but a "." behind each sentence."""
    found = []
    for sentence in _SENTENCES.split(report.lower()):
        words = _WORDS.findall(sentence)
        found += [*words, "."] if words else []
    return found


class Vocabulary:
    """Words that are frequent in some reports, numbered from 1 in the order of the alphabet.

    Args:
        reports: those to train on.
        least: occurrences of a word that is kept; others become `<unk>`.

    Raises:
        ValueError: no word is frequent enough.
    """

    def __init__(self, reports: Sequence[str], least: int = 3) -> None:
        counts = Counter(word for report in reports for word in words_of(report))
        kept = [word for word, count in counts.items() if count >= least]
        if not kept:
            raise ValueError(f"reports: expected words that occur {least} times, found none in {len(reports)} reports")
        self.words = tuple(sorted([*kept, UNKNOWN]))
        self._numbers = {word: number for number, word in enumerate(self.words, 1)}

    def __len__(self) -> int:
        """Numbers that are in use, that of the end among them."""
        return len(self.words) + 1

    def encode(self, report: str, longest: int = 60) -> list[int]:
        """Numbers of the first words of a report, between two `END`s."""
        unknown = self._numbers[UNKNOWN]
        return [END, *(self._numbers.get(word, unknown) for word in words_of(report)[:longest]), END]

    def decode(self, numbers: Sequence[int]) -> list[str]:
        """Words up to the first `END`."""
        found = []
        for number in numbers:
            if number == END:
                break
            found.append(self.words[number - 1])
        return found
