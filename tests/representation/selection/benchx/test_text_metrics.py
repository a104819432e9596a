import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from representation.selection.benchx.stemmer import stem
from representation.selection.benchx.text_metrics import alignment, corpus_bleu, meteor, rouge_l, text_metrics


def drawn_texts(seed, count=30):
    rng = np.random.default_rng(seed)
    return [[str(word) for word in rng.integers(0, 3, rng.integers(5, 10))] for _ in range(count)]


def bleu_by_removal(told, true, order):
    """Counts clipped by taking each n-gram of the true text away as it is used; precisions as fractions."""
    logs = []
    for n in range(1, order + 1):
        hits = tries = 0
        for ours, theirs in zip(told, true, strict=True):
            left = [theirs[i : i + n] for i in range(len(theirs) - n + 1)]
            for start in range(len(ours) - n + 1):
                tries += 1
                if ours[start : start + n] in left:
                    left.remove(ours[start : start + n])
                    hits += 1
        logs.append(math.log(Fraction(hits, tries)))
    ours, theirs = (sum(len(text) for text in texts) for texts in (told, true))
    return min(1.0, math.exp(1 - theirs / ours)) * math.exp(sum(logs) / order)


@pytest.mark.parametrize("seed", range(4))
def test_bleu_is_that_of_a_plain_count(seed):
    told, true = drawn_texts(seed), drawn_texts(100 + seed)
    for order in (1, 2, 4):
        assert corpus_bleu(told, true, order) == pytest.approx(bleu_by_removal(told, true, order), abs=1e-6)


def test_bleu_has_the_values_of_a_count_by_hand():
    told, true = ["the", "the", "the", "cat"], ["the", "cat", "sat", "on", "the", "mat"]
    # the twice, cat once, of four words; "the cat" of three pairs; 4 words for 6.
    penalty = math.exp(1 - 6 / 4)
    assert corpus_bleu([told], [true], 1) == pytest.approx(penalty * 3 / 4)
    assert corpus_bleu([told], [true], 2) == pytest.approx(penalty * math.sqrt(3 / 4 * 1 / 3))
    assert corpus_bleu([told], [true], 4) == 0
    assert corpus_bleu([true], [true], 4) == pytest.approx(1)


def subsequences(words):
    return {
        tuple(words[i] for i in places) for n in range(len(words) + 1) for places in combinations(range(len(words)), n)
    }


def test_rouge_is_that_of_all_subsequences():
    told, true = drawn_texts(5), drawn_texts(6)
    total = 0.0
    for ours, theirs in zip(told, true, strict=True):
        common = max(len(part) for part in subsequences(ours) & subsequences(theirs))
        precision, recall = common / len(ours), common / len(theirs)
        total += (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision) if common else 0
    assert rouge_l(told, true) == pytest.approx(total / len(told), abs=1e-9)


def test_meteor_has_the_values_of_a_count_by_hand():
    text = ["the", "red", "cube", "is", "left", "of", "the", "ball"]
    assert meteor([text], [text]) == pytest.approx(1 - 0.5 * (1 / 8) ** 3)
    # Six of six words match, in three chunks that changed places.
    told, true = ["on", "the", "mat", "sat", "the", "cat"], ["the", "cat", "sat", "on", "the", "mat"]
    assert alignment(told, true) == (6, 3)
    assert meteor([told], [true]) == pytest.approx(1 - 0.5 * (3 / 6) ** 3)
    # Three of four words for three of five, one of them by its stem.
    told, true = ["the", "gripper", "opened", "quickly"], ["the", "gripper", "opens", "at", "once"]
    precision, recall = 3 / 4, 3 / 5
    mean = precision * recall / (0.9 * precision + 0.1 * recall)
    assert meteor([told], [true]) == pytest.approx(mean * (1 - 0.5 * (1 / 3) ** 3))
    assert meteor([["nothing"]], [["alike"]]) == 0


def test_exact_words_are_matched_before_stems():
    assert alignment(["opens"], ["opened", "opens"]) == (1, 1)
    assert alignment(["opened", "opens"], ["opens", "opened"]) == (2, 2)


STEMS = {
    "caresses": "caress", "ponies": "poni", "agreed": "agre", "feed": "feed", "plastered": "plaster", "sing": "sing",
    "conflated": "conflat", "hopping": "hop", "falling": "fall", "filing": "file", "happy": "happi", "sky": "sky",
    "relational": "relat", "rational": "ration", "formative": "form", "hopefulness": "hope", "adoption": "adopt",
    "replacement": "replac", "probate": "probat", "rate": "rate", "cease": "ceas", "controll": "control", "is": "is",
    "generalizations": "gener", "oscillators": "oscil",
}  # fmt: skip


@pytest.mark.parametrize("word", STEMS)
def test_stems_are_those_of_the_paper(word):
    assert stem(word) == STEMS[word]


def test_texts_that_do_not_pair_are_told():
    with pytest.raises(ValueError, match="texts: expected as many as true ones"):
        text_metrics([["a"]], [["a"], ["b"]])
    with pytest.raises(ValueError, match="expected lists of words, found a string"):
        text_metrics(["a b"], [["a", "b"]])
