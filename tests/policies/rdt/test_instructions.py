from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from policies.rdt.instructions import INSTRUCTIONS_FILE, InstructionVariants

CONTENT = {
    "instruction": "Lift the cube.",
    "simplified_instruction": ["Lift.", "Cube up."],
    "expanded_instruction": "Take the cube and lift it.",
}


def test_texts_and_lists_are_read_and_written(tmp_path):
    (tmp_path / INSTRUCTIONS_FILE).write_text(json.dumps(CONTENT))
    variants = InstructionVariants.read(tmp_path)
    expected = InstructionVariants("Lift the cube.", ("Lift.", "Cube up."), ("Take the cube and lift it.",))
    assert variants == expected
    variants.write(tmp_path)
    assert InstructionVariants.read(tmp_path) == expected
    assert variants.texts == ("Lift the cube.", "Lift.", "Cube up.", "Take the cube and lift it.")


def test_each_kind_is_drawn_a_third_of_the_time():
    variants = InstructionVariants("a", ("b", "c"), ("d", "e", "f"))
    generator = np.random.default_rng(0)
    counts = Counter(variants.choose(generator) for _ in range(6000))
    expected = {"a": 2000, "b": 1000, "c": 1000, "d": 667, "e": 667, "f": 667}
    assert counts.keys() == expected.keys()
    for text, count in expected.items():
        assert abs(counts[text] - count) < 150, text


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"simplified_instruction": []}, "simplified_instruction: expected a text or a list of texts, found"),
        ({"expanded_instruction": None}, "expanded_instruction: expected a text or a list of texts, found None"),
        ({"expanded_instruction": [1]}, "expanded_instruction"),
        ({"instruction": ["a", "b"]}, "instruction: expected one text, found 2"),
    ],
)
def test_what_is_not_text_is_named(tmp_path, changed, message):
    (tmp_path / INSTRUCTIONS_FILE).write_text(json.dumps(CONTENT | changed))
    with pytest.raises(ValueError, match=message):
        InstructionVariants.read(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=INSTRUCTIONS_FILE):
        InstructionVariants.read(tmp_path)
