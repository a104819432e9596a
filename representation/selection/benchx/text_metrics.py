"""Measures of generated texts: BLEU, ROUGE-L, and METEOR by exact words and stems.

A text is a list of words; each generated one is held against one true one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from representation.selection.benchx.stemmer import stem

Words = Sequence[str]
ROUGE_BETA = 1.2
METEOR_ALPHA, METEOR_BETA, METEOR_GAMMA = 0.9, 3.0, 0.5
METEOR_BEAM = 40


def _check(told: Sequence[Words], true: Sequence[Words]) -> None:
    if len(told) != len(true) or not told:
        raise ValueError(f"texts: expected as many as true ones and at least one, found {len(told)} and {len(true)}")
    if any(isinstance(words, str) for words in (*told, *true)):
        raise ValueError("texts: expected lists of words, found a string")


def corpus_bleu(told: Sequence[Words], true: Sequence[Words], order: int = 4) -> float:
    """BLEU of a corpus (Papineni et al., 2002): geometric mean of clipped n-gram precisions up to an order.

    Counts are summed over the corpus before they are divided; nothing is smoothed, so an order without any match
    makes it 0.

    Args:
        told: generated texts.
        true: true texts, in the same order.
        order: longest n-gram, all of the same weight.
    """
    _check(told, true)
    logs = 0.0
    for n in range(1, order + 1):
        matches = total = 0
        for ours, theirs in zip(told, true, strict=True):
            counts, reference = _ngrams(ours, n), _ngrams(theirs, n)
            matches += sum((counts & reference).values())
            total += max(len(ours) - n + 1, 0)
        if matches == 0:
            return 0.0
        logs += math.log(matches / total)
    lengths = sum(map(len, told)), sum(map(len, true))
    penalty = 1.0 if lengths[0] >= lengths[1] else math.exp(1 - lengths[1] / lengths[0])
    return penalty * math.exp(logs / order)


def _ngrams(words: Words, n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[place : place + n]) for place in range(len(words) - n + 1))


def longest_common_subsequence(a: Words, b: Words) -> int:
    """Its length."""
    row = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for place, other in enumerate(b, 1):
            before, row[place] = row[place], before + 1 if word == other else max(row[place], row[place - 1])
    return row[-1]


def rouge_l(told: Sequence[Words], true: Sequence[Words], beta: float = ROUGE_BETA) -> float:
    """Mean F-measure of the longest common subsequence (Lin, 2004); recall counts `beta` squared times as much."""
    _check(told, true)
    total = 0.0
    for ours, theirs in zip(told, true, strict=True):
        common = longest_common_subsequence(ours, theirs)
        if common:
            precision, recall = common / len(ours), common / len(theirs)
            total += (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    return total / len(told)


def meteor(told: Sequence[Words], true: Sequence[Words]) -> float:
    """Mean METEOR (Banerjee and Lavie, 2005; weights of Lavie and Agarwal, 2007) by exact words, then by stems.

    The published benchmark calls a Java program with synonyms and paraphrases besides, whose values are higher.
    """
    _check(told, true)
    return sum(_meteor(ours, theirs) for ours, theirs in zip(told, true, strict=True)) / len(told)


def _meteor(told: Words, true: Words) -> float:
    matches, chunks = alignment(told, true)
    if matches == 0:
        return 0.0
    precision, recall = matches / len(told), matches / len(true)
    mean = precision * recall / (METEOR_ALPHA * precision + (1 - METEOR_ALPHA) * recall)
    return mean * (1 - METEOR_GAMMA * (chunks / matches) ** METEOR_BETA)


def alignment(told: Words, true: Words) -> tuple[int, int]:
    """How many words are matched, each once, and in how many chunks that run alike in both texts.

    The alignment has as many matches as there can be; among such, as many exact ones; among such, few chunks. It is
    looked for by a beam over the generated words, as which alignment has the fewest chunks is hard to tell.
    """
    stems = [stem(word) for word in told], [stem(word) for word in true]
    # (exact matches, matches by stem, -chunks), the place that was matched last, the places that are taken.
    beam: dict[tuple[int, frozenset[int]], tuple[int, int, int]] = {(-2, frozenset()): (0, 0, 0)}
    for place, word in enumerate(told):
        grown: dict[tuple[int, frozenset[int]], tuple[int, int, int]] = {}
        for (last, taken), (exact, by_stem, chunks) in beam.items():
            _keep(grown, (-2, taken), (exact, by_stem, chunks))
            for other in range(len(true)):
                is_exact = word == true[other]
                if other not in taken and (is_exact or stems[0][place] == stems[1][other]):
                    score = (exact + is_exact, by_stem + (not is_exact), chunks - (other != last + 1))
                    _keep(grown, (other, taken | {other}), score)
        best = sorted(grown.items(), key=lambda item: (item[1][0] + item[1][1], item[1]), reverse=True)
        beam = dict(best[:METEOR_BEAM])
    exact, by_stem, chunks = max(beam.values(), key=lambda score: (score[0] + score[1], score))
    return exact + by_stem, -chunks


def _keep(beam: dict, key: tuple[int, frozenset[int]], score: tuple[int, int, int]) -> None:
    if key not in beam or beam[key] < score:
        beam[key] = score


def text_metrics(told: Sequence[Words], true: Sequence[Words]) -> dict[str, float]:
    """`bleu_1` to `bleu_4`, `rouge_l` and `meteor`."""
    found = {f"bleu_{order}": corpus_bleu(told, true, order) for order in (1, 2, 3, 4)}
    return found | {"rouge_l": rouge_l(told, true), "meteor": meteor(told, true)}
