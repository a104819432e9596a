"""What is made of messages: labels, figures, keys."""

from __future__ import annotations

import numpy as np
import pytest

from representation.memory.grounded_language.forest import MessageForest
from representation.memory.grounded_language.patterns import (
    format_message,
    least_cosine,
    matches,
    parse_pattern,
    pattern_vector,
)
from representation.memory.grounded_language.statistics import edit_distances, language_stats
from representation.memory.grounded_language.translator import MessageTranslator

NAMES = ("cup", "table tennis bat", "table")


def said(count=120):
    """Messages whose second symbol tells the label, and labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, count)
    ids = rng.integers(0, 6, (count, 4))
    ids[:, 1] = 2 * labels + rng.integers(0, 2, count)
    return ids, labels


def test_forest_and_translator_read_labels_out_of_messages():
    ids, labels = said()
    assert (MessageForest(6).fit(ids[:80], labels[:80]).predict(ids[80:]) == labels[80:]).mean() > 0.9
    phrases = [NAMES[label] for label in labels]
    words = sorted({word for name in NAMES for word in name.split()})
    translator = MessageTranslator(6, words).fit(np.tile(ids[:80], (6, 1)), 6 * phrases[:80])
    assert np.mean([a == b for a, b in zip(translator.predict(ids[80:]), phrases[80:], strict=True)]) > 0.9
    with pytest.raises(ValueError, match=r"labels: expected words of .*, found \['spoon'\]"):
        translator.fit(ids[:1], ["a spoon"[2:]])


def test_figures_of_a_language_that_says_the_class_and_of_one_that_says_nothing():
    labels = np.arange(64) % 4
    features = np.stack([labels // 2, labels % 2], axis=1).astype(float)
    telling = language_stats(np.stack([labels // 2, labels % 2, np.zeros(64, int)], axis=1), labels, features)
    assert telling["distinct"] == 4
    assert telling["entropy"] == pytest.approx([1.0, 1.0, 0.0])
    assert telling["nmi"] == pytest.approx(1.0)
    assert telling["topographic_similarity"] == pytest.approx(1.0)
    mute = language_stats(np.zeros((64, 3), int), labels, features)
    assert (mute["distinct"], mute["nmi"], mute["topographic_similarity"]) == (1, 0.0, 0.0)
    assert set(language_stats(np.zeros((2, 3), int), None, None)) == {"distinct", "entropy"}


def test_edit_distances_are_those_of_a_plain_recursion():
    def plain(a, b):
        if not a or not b:
            return len(a) + len(b)
        exchange = plain(a[1:], b[1:]) + (a[0] != b[0])
        return min(exchange, 1 + plain(a[1:], b), 1 + plain(a, b[1:]))

    a, b = np.random.default_rng(0).integers(0, 3, (2, 30, 4))
    expected = [plain(tuple(x), tuple(y)) for x, y in zip(a, b, strict=True)]
    np.testing.assert_array_equal(edit_distances(a, b), expected)


def test_a_pattern_finds_messages_one_by_one_and_by_their_vectors():
    ids, _ = said()
    pattern = parse_pattern("3-*-5-*", 6, 4)
    assert pattern == (3, None, 5, None)
    fits = matches(ids, pattern)
    assert 0 < fits.sum() < len(ids)
    np.testing.assert_array_equal(fits, (ids[:, 0] == 3) & (ids[:, 2] == 5))
    vectors, query = np.eye(6)[ids].reshape(len(ids), -1), pattern_vector(pattern, 6)
    cosines = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    np.testing.assert_array_equal(cosines >= least_cosine(pattern) - 1e-6, fits)
    assert matches(ids, parse_pattern("*-*-*-*", 6, 4)).all()
    assert format_message(ids[0]) == "-".join(str(symbol) for symbol in ids[0])
    for wrong in ("3-7", "3-6-*-*", "3--*-*", "a-b-c-d"):
        with pytest.raises(ValueError, match=r"pattern: expected 4 of 0 to 5 or \*"):
            parse_pattern(wrong, 6, 4)
    with pytest.raises(ValueError, match="pattern: expected at least one symbol"):
        pattern_vector((None, None), 6)
