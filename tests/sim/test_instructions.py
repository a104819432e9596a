from __future__ import annotations

import numpy as np
import pytest

from sim.instructions import PARAPHRASES, instruct

NAMES = {
    "object": "red cube",
    "zone": "green",
    "base": "blue cube",
    "drawer": "purple",
    "bin": "left",
    "tray": "red",
    "peg": "blue",
    "socket": "green",
}
TRAINING_WORDS = {word for group in PARAPHRASES.values() for sentence in group.train for word in sentence.split()}


@pytest.mark.parametrize("task", PARAPHRASES)
def test_each_task_has_at_least_seven_distinct_sentences_of_which_two_are_held_out(task):
    group = PARAPHRASES[task]
    assert len(set(group.train + group.held_out)) == len(group.train) + len(group.held_out) >= 7
    assert len(group.held_out) == 2


@pytest.mark.parametrize("task", PARAPHRASES)
def test_held_out_sentences_use_mostly_words_of_the_training_sentences(task):
    for sentence in PARAPHRASES[task].held_out:
        words = sentence.split()
        assert sum(word in TRAINING_WORDS for word in words) >= 0.75 * len(words), sentence


@pytest.mark.parametrize("task", PARAPHRASES)
def test_every_sentence_names_all_roles(task):
    group = PARAPHRASES[task]
    for sentence in group.train + group.held_out:
        assert all("{" + role + "}" in sentence for role in group.roles), sentence


@pytest.mark.parametrize("task", PARAPHRASES)
@pytest.mark.parametrize("held_out", [False, True])
def test_instruct_draws_every_sentence_of_its_set_and_none_of_the_other(task, held_out):
    names = {role: NAMES[role] for role in PARAPHRASES[task].roles}
    rng = np.random.default_rng(3)
    drawn = {instruct(task, rng, held_out, **names) for _ in range(200)}
    wanted = PARAPHRASES[task].held_out if held_out else PARAPHRASES[task].train
    assert drawn == {sentence.format(**names) for sentence in wanted}


def test_same_generator_state_gives_the_same_sentence():
    first, second = (instruct("pick", np.random.default_rng(7), object="red ball") for _ in range(2))
    assert first == second


def test_unknown_task_is_refused_with_the_tasks_that_there_are():
    with pytest.raises(ValueError, match=r"expected one of reach, .* found 'juggle'"):
        instruct("juggle", np.random.default_rng(0), object="red cube")


@pytest.mark.parametrize(
    "names", [{}, {"object": "red cube"}, {"object": "red cube", "base": "blue cube", "zone": "red"}]
)
def test_missing_or_excess_names_are_refused(names):
    with pytest.raises(ValueError, match="expected \\['base', 'object'\\] for task 'stack'"):
        instruct("stack", np.random.default_rng(0), **names)
