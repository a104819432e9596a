import numpy as np
import pytest

from representation.live_clip import LiveClip


def picture(value):
    return np.full((2, 2, 3), value, np.uint8)


def values(clip):
    return (clip.clip()[:, 0, 0, 0] * 255).round().int().tolist()


def test_a_clip_spans_the_episode_so_far_and_ends_with_the_newest_picture():
    clip = LiveClip(4)
    for count in range(1, 200):
        clip.add(picture(count))
        found = values(clip)
        assert (found[0], found[-1], len(found)) == (1, count, 4)
        steps = np.diff(found)
        assert (steps >= 0).all()
        assert steps.max() <= count / 2 + 1
    assert max(steps) - min(steps) <= 0.3 * 199


def test_what_is_kept_stays_bounded():
    clip = LiveClip(4)
    for count in range(1000):
        clip.add(picture(count % 256))
    assert len(clip._kept) <= 8


def test_an_episode_begins_anew_and_pictures_keep_their_size():
    clip = LiveClip(3)
    clip.add(picture(1))
    with pytest.raises(ValueError, match=r"picture: expected \(2, 2, 3\) as before"):
        clip.add(np.zeros((4, 4, 3), np.uint8))
    clip.restart()
    with pytest.raises(ValueError, match="expected a picture, found none"):
        clip.clip()
    clip.add(np.zeros((4, 4, 3), np.uint8))
    assert clip.clip().shape == (3, 3, 4, 4)
