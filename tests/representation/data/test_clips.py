from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from representation.data.clips import (
    ScriptEpisode,
    Step,
    Word,
    align_words,
    history,
    sample_script_clip,
    script_of,
    segment_asr,
    spread,
)
from representation.data.frames import Frames, open_frames
from representation.data.lerobot_writer import LeRobotWriter

SENTENCES = ("reach the red cube", "close the gripper", "lift the red cube", "place it on the tray")

SPOKEN = ("pick", "up", "the", "red", "cube", "and", "lift", "it")
HEARD = ("pickup", "the", "uh", "red", "cue", "and", "lift", "hit")


def numbered(count):
    """Pictures that tell their number."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 2, 2, 3)).copy()


def narrated(lengths=(3, 2, 4, 3), episodes=2, **columns):
    texts = [text for _ in range(episodes) for text, n in zip(SENTENCES, lengths, strict=True) for _ in range(n)]
    episode = np.repeat(np.arange(episodes), sum(lengths))
    return Frames(numbered(len(texts)), episode, columns, {}, texts)


def numbers(video):
    return (video[..., 0, 0, 0] * 255).round().int().tolist()


def test_runs_of_a_text_are_steps():
    episode, step = script_of(narrated(), 12 + 5)
    assert [one.text for one in episode.steps] == list(SENTENCES)
    assert [(one.start, one.end) for one in episode.steps] == [(0, 3), (3, 5), (5, 9), (9, 12)]
    assert step == 2
    assert numbers(torch.from_numpy(episode.frames).permute(0, 3, 1, 2) / 255)[0] == 12
    assert [script_of(narrated(), row)[1] for row in (0, 2, 3, 11)] == [0, 0, 1, 3]


def test_columns_tell_times_and_steps_that_repeat_a_sentence():
    frames = narrated(
        time=np.tile(np.arange(12) * 0.1, 2), step=np.tile(np.repeat([0, 1, 2, 3, 4], [3, 2, 2, 2, 3]), 2)
    )
    episode, step = script_of(frames, 8)
    assert [one.text for one in episode.steps] == [*SENTENCES[:3], SENTENCES[2], SENTENCES[3]]
    assert episode.steps[3].start == pytest.approx(0.7)
    assert episode.steps[4].end == pytest.approx(1.2)
    assert step == 3


def test_tasks_of_the_frames_of_a_lerobot_dataset_are_its_narration(tmp_path):
    writer = LeRobotWriter(tmp_path / "data", 10, {"observation.images.top": {"dtype": "video", "shape": (16, 16, 3)}})
    for _ in range(2):
        for text, count in zip(SENTENCES, (3, 2, 4, 3), strict=True):
            for _ in range(count):
                writer.add_frame({"observation.images.top": np.zeros((16, 16, 3), np.uint8)}, task=text)
        writer.save_episode()
    writer.finalize()
    episode, step = script_of(open_frames(tmp_path / "data"), 12 + 5)
    assert [one.text for one in episode.steps] == list(SENTENCES)
    assert [(one.start, one.end) for one in episode.steps] == [
        pytest.approx(times) for times in ((0, 0.3), (0.3, 0.5), (0.5, 0.9), (0.9, 1.2))
    ]
    assert step == 2


def test_clips_span_their_steps_with_a_frame_of_each_part():
    episode, _ = script_of(narrated(), 0)
    video, sentences = sample_script_clip(episode, 1, 2, 3)
    assert sentences == list(SENTENCES[1:3])
    assert numbers(video) == [4, 6, 8]  # the middles of 3..4, 5..6 and 7..8
    drawn = {
        tuple(numbers(sample_script_clip(episode, 1, 2, 3, torch.Generator().manual_seed(seed))[0]))
        for seed in range(40)
    }
    assert drawn == {(a, b, c) for a in (3, 4) for b in (5, 6) for c in (7, 8)}
    assert numbers(sample_script_clip(episode, 0, 4, 24)[0])[:4] == [0, 0, 1, 1]  # more parts than frames
    with pytest.raises(ValueError, match="expected 2 steps from number 3, found 4 in all"):
        sample_script_clip(episode, 3, 2, 3)


def test_history_ends_at_its_row_and_stays_in_its_episode():
    clips = history(narrated(), np.array([0, 11, 12, 20]), 4)
    assert [numbers(clip) for clip in clips] == [[0] * 4, [0, 4, 7, 11], [12] * 4, [12, 15, 17, 20]]
    assert numbers(spread(clips, 2)[1]) == [4, 11]
    assert torch.equal(spread(clips, 4), clips)


def test_wrong_episodes_are_refused():
    with pytest.raises(ValueError, match="at least 10 characters, found 'lift it'"):
        Step("lift it", 0, 1)
    with pytest.raises(ValueError, match="expected an end after its start"):
        Step("lift the cube", 1, 1)
    step = Step("lift the cube", 0, 1)
    with pytest.raises(ValueError, match="stamps: expected increasing"):
        ScriptEpisode(numbered(2), np.array([1.0, 1.0]), [step])
    with pytest.raises(ValueError, match="steps: expected the order"):
        ScriptEpisode(numbered(2), np.array([0.0, 1.0]), [Step("lift the cube", 1, 2), step])
    with pytest.raises(ValueError, match=r"expected \['texts'\]"):
        script_of(Frames(numbered(2), np.zeros(2, int)), 0)
    gap = narrated().subset(np.array([0, 1, 12, 2]))
    with pytest.raises(ValueError, match="episode 0: expected frames that follow each other"):
        script_of(gap, 0)


def test_speech_is_cut_into_segments_with_gaps():
    words = [Word(f"word{second}", second + 0.5) for second in range(60)]
    lengths = set()
    for seed in range(20):
        steps = segment_asr(words, 4, 60.0, torch.Generator().manual_seed(seed))
        length = steps[0].end - steps[0].start
        lengths.add(round(length))
        assert [b.start - a.end for a, b in pairwise(steps)] == pytest.approx([1.0] * 3)
        assert 0 <= steps[0].start <= 60 - (4 * length + 3) + 1e-9
        for step in steps:
            assert step.text.split() == [w.text for w in words if step.start <= w.time < step.end]
    assert lengths == {3, 4, 5}
    with pytest.raises(ValueError, match="duration: expected at least"):
        segment_asr(words, 4, 10.0, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="at least 10 characters"):
        segment_asr([], 4, 60.0, torch.Generator().manual_seed(0))


def test_corrected_words_get_the_times_of_what_was_heard():
    heard = [Word(text, float(time)) for time, text in enumerate(HEARD)]
    found = align_words(SPOKEN, heard)
    times = {word.text: word.time for word in found}
    assert [times[text] for text in ("the", "red", "cube", "and", "lift", "it")] == [1, 3, 4, 5, 6, 7]
    assert times["pick"] == 0
    assert [word.time for word in found] == sorted(word.time for word in found)
    with pytest.raises(ValueError, match="words: expected some of both kinds, found 1 and 0"):
        align_words(["a"], [])
