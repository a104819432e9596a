from __future__ import annotations

import json

import numpy as np
import pytest

from representation.data.clips import script_of
from representation.data.frames import STEP, TIME, Frames, open_frames, write_frames
from representation.narrate import main, read_words

LENGTHS = (40, 25)  # s
PERIOD = 0.5  # s


@pytest.fixture
def data(tmp_path):
    counts = [int(length / PERIOD) for length in LENGTHS]
    episode = np.repeat(np.arange(len(counts)), counts)
    times = np.concatenate([PERIOD * np.arange(count) for count in counts])
    images = np.zeros((len(episode), 16, 16, 3), np.uint8)
    images[:, 0, 0, 0] = 2 * times
    write_frames(Frames(images, episode, {TIME: times}), tmp_path / "data")
    return tmp_path / "data"


def said(episode, length, **more):
    words = [{"word": f"word{second}", "time": second + 0.25} for second in range(length)]
    return {"episode": episode, "words": words, **more}


def write_words(path, *entries):
    path.write_text(json.dumps({"episodes": list(entries)}))
    return path


def test_each_cut_is_an_episode_whose_steps_hold_the_words_that_were_said_then(data, tmp_path, capsys):
    words = write_words(tmp_path / "words.json", *(said(number, length) for number, length in enumerate(LENGTHS)))
    output = tmp_path / "narrated"
    main(["--data", str(data), "--words", str(words), "--output", str(output), "--cuts", "3"])
    assert "of 6 cuts" in capsys.readouterr().out
    frames = open_frames(output)
    assert len(np.unique(frames.episode)) == 6
    for number in range(6):
        rows = np.flatnonzero(frames.episode == number)
        episode, _ = script_of(frames, rows[0])
        assert len(episode.steps) == 4
        for segment in range(4):
            own = rows[frames.columns[STEP][rows] == segment]
            seen = frames.images[own, 0, 0, 0] / 2
            spoken = [int(word.removeprefix("word")) for word in frames.texts[own[0]].split()]
            assert len(spoken) >= 3
            # Frames come every half second; words lie a quarter of a second after whole ones.
            assert seen[0] - 1 < min(spoken) <= max(spoken) < seen[-1] + 1


def test_corrected_words_take_the_times_of_those_that_were_heard(tmp_path):
    heard = [{"word": "pusch", "time": 1.0}, {"word": "zee", "time": 2.0}, {"word": "cube", "time": 3.0}]
    path = write_words(tmp_path / "words.json", {"episode": 7, "words": heard[::-1], "text": "push the cube"})
    assert [(word.text, word.time) for word in read_words(path)[7]] == [("push", 1.0), ("the", 2.0), ("cube", 3.0)]


@pytest.mark.parametrize(
    "entry",
    [
        {"episode": 0},
        {"episode": 0, "words": [{"word": "push"}]},
        {"episode": 0, "words": [{"word": "push", "time": "soon"}]},
        {"episode": 0, "words": [], "text": "push " * 6000},
        "push",
    ],
)
def test_malformed_words_are_refused_by_their_entry(tmp_path, entry):
    with pytest.raises(ValueError, match="entry 0: expected an episode with words and times"):
        read_words(write_words(tmp_path / "words.json", entry))


def test_episodes_that_are_not_there_or_too_short_are_named(data, tmp_path):
    for number, match in ((5, "episode 5: expected one of the frames"), (1, "episode 1: .* expected a sentence")):
        entry = said(number, 40) if number == 5 else {"episode": 1, "words": []}
        words = write_words(tmp_path / "words.json", entry)
        with pytest.raises(ValueError, match=match):
            main(["--data", str(data), "--words", str(words), "--output", str(tmp_path / "narrated")])
