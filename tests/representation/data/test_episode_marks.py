from __future__ import annotations

import pytest

from representation.data.episode_marks import EpisodeMark, EpisodeMarks


def test_one_episode_follows_the_other():
    marks = EpisodeMarks()
    assert marks.mark("start", "push") == EpisodeMark("start", "push")
    assert marks.running
    assert marks.mark("failure", "") == EpisodeMark("failure", "push")
    assert not marks.running
    marks.mark("start", "pull")
    assert marks.mark("discard", "something else") == EpisodeMark("discard", "pull")
    assert marks.counts == {"start": 2, "success": 0, "failure": 1, "discard": 1}


@pytest.mark.parametrize("event", ["success", "failure", "discard"])
def test_an_end_without_a_start_is_refused(event):
    with pytest.raises(ValueError, match=f"{event}: no episode is running"):
        EpisodeMarks().mark(event, "push")


def test_a_start_needs_an_instruction_and_the_end_of_the_episode_before():
    marks = EpisodeMarks()
    with pytest.raises(ValueError, match="expected an instruction, found none"):
        marks.mark("start", "")
    marks.mark("start", "push")
    with pytest.raises(ValueError, match="an episode is running"):
        marks.mark("start", "push")


def test_a_mark_survives_its_text():
    mark = EpisodeMark("success", 'say "go"')
    assert EpisodeMark.from_json(mark.to_json()) == mark


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"event": "explode", "instruction": ""}', '{"event": "start"}', "[" * 9000]
)
def test_a_text_that_is_no_mark_is_refused(text):
    with pytest.raises(ValueError, match="episode mark: expected"):
        EpisodeMark.from_json(text)
