"""Stems of English words, by the rules of M. F. Porter, An algorithm for suffix stripping, Program 14 (1980)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache

_SECOND = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "abli": "able", "alli": "al",
    "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate", "alism": "al",
    "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble",
}  # fmt: skip
_THIRD = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
_FOURTH = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
)  # fmt: skip


def _is_consonant(word: str, place: int) -> bool:
    letter = word[place]
    if letter == "y":
        return place == 0 or not _is_consonant(word, place - 1)
    return letter not in "aeiou"


def _measure(part: str) -> int:
    """How often a vowel is followed by a consonant."""
    kinds = [_is_consonant(part, place) for place in range(len(part))]
    return sum(second and not first for first, second in itertools.pairwise(kinds))


def _has_vowel(part: str) -> bool:
    return not all(_is_consonant(part, place) for place in range(len(part)))


def _ends_double(part: str) -> bool:
    return len(part) > 1 and part[-1] == part[-2] and _is_consonant(part, len(part) - 1)


def _ends_short(part: str) -> bool:
    """Whether it ends with consonant, vowel, and a consonant other than w, x and y."""
    if len(part) < 3 or part[-1] in "wxy":
        return False
    return [_is_consonant(part, len(part) - back) for back in (3, 2, 1)] == [True, False, True]


def _replaced(word: str, endings: dict[str, str], allowed: Callable[[str, str], bool]) -> str:
    """The word with its longest known ending replaced, if its stem allows it."""
    for size in range(min(len(word), 7), 0, -1):
        ending = word[-size:]
        if ending in endings:
            part = word[:-size]
            return part + endings[ending] if allowed(part, ending) else word
    return word


def _first(word: str) -> str:
    """Plurals, and -ed and -ing."""
    word = _replaced(word, {"sses": "ss", "ies": "i", "ss": "ss", "s": ""}, lambda part, ending: True)
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for ending in ("ed", "ing"):
        part = word.removesuffix(ending)
        if part != word and _has_vowel(part):
            if part.endswith(("at", "bl", "iz")):
                return part + "e"
            if _ends_double(part) and part[-1] not in "lsz":
                return part[:-1]
            return part + "e" if _measure(part) == 1 and _ends_short(part) else part
    return word


@lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """The stem of a word in lower case; words of one or two letters stay as they are."""
    if len(word) < 3:
        return word
    word = _first(word)
    if word.endswith("y") and _has_vowel(word[:-1]):
        word = word[:-1] + "i"
    word = _replaced(word, _SECOND, lambda part, ending: _measure(part) > 0)
    word = _replaced(word, _THIRD, lambda part, ending: _measure(part) > 0)
    word = _replaced(
        word,
        dict.fromkeys(_FOURTH, ""),
        lambda part, ending: _measure(part) > 1 and (ending != "ion" or part.endswith(("s", "t"))),
    )
    if word.endswith("e"):
        part = word[:-1]
        if _measure(part) > 1 or (_measure(part) == 1 and not _ends_short(part)):
            word = part
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word
