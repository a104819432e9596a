from __future__ import annotations

import numpy as np
import pytest

from policies.rdt.aloha_demonstrations import AlohaDemonstrations
from policies.rdt.images import BACKGROUND_LEVEL
from tests.policies.rdt.episodes import VARIANTS, write_aloha

BOTH = ("cam_high", "cam_right_wrist", "cam_left_wrist")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("episodes") / "lift"
    write_aloha(directory, (128, 256, 127))
    return directory


@pytest.fixture(scope="module")
def data(directory):
    with pytest.warns(
        UserWarning, match=r"1 of 3 episodes have less than 128 steps and are dropped: \['episode_2.hdf5'"
    ):
        return AlohaDemonstrations(directory)


def test_short_episodes_are_dropped_and_the_others_begin_just_before_they_move(data):
    steps = data.steps
    assert len(steps) == (128 - 29) + (256 - 29)
    first, second = data.episodes
    np.testing.assert_array_equal(steps.states, np.concatenate([first.qpos[29:], second.qpos[29:]]))
    np.testing.assert_array_equal(steps.actions[99:], second.action[29:])
    assert steps.first.tolist() == [0] * 99 + [99] * 227
    assert steps.last.tolist() == [98] * 99 + [325] * 227
    assert steps.episode.tolist() == [0] * 99 + [1] * 227
    assert set(steps.group) == {"lift"}


def test_the_deviation_is_that_of_the_whole_episode(data):
    np.testing.assert_allclose(data.steps.state_std[0], data.episodes[0].qpos.astype(float).std(axis=0))
    np.testing.assert_array_equal(data.steps.state_std[0], data.steps.state_std[98])


def test_chunks_go_on_with_the_last_action_of_their_episode(data):
    chunk = data.steps.chunks(np.array([90]), 64)[0]
    np.testing.assert_array_equal(chunk[:9], data.episodes[0].action[119:])
    assert (chunk[9:] == data.episodes[0].action[-1]).all()


def test_the_texts_are_those_beside_the_episodes_and_the_files_tell_no_rate(data):
    assert data.variants == VARIANTS
    assert set(data.steps.instructions) == {"Lift it."}
    assert (data.robot, data.control_hz) == ("aloha", None)


def test_pictures_are_those_of_their_steps_in_a_grey_square(data, tmp_path):
    read = data.pictures(BOTH, 12, tmp_path / "unused")
    pictures, present = read(np.array([70, 99]))
    assert pictures.shape == (2, 3, 12, 12, 3)
    assert present.tolist() == [[True, True, False], [True, False, False]]
    # Step 70 is row 99 of the first episode, step 99 row 29 of the second.
    np.testing.assert_allclose(pictures[:, 0, 6, 6], [[99] * 3, [29] * 3], atol=1)
    np.testing.assert_allclose(pictures[0, 0, 0], BACKGROUND_LEVEL, atol=3)  # bicubic edges ring
    assert (pictures[~present] == BACKGROUND_LEVEL).all()
    again, _ = read(np.array([99, 70]))
    np.testing.assert_array_equal(again[::-1], pictures)


def test_a_role_without_a_name_is_left_out(data, tmp_path):
    _, present = data.pictures(("", "cam_right_wrist", ""), 12, tmp_path)(np.array([70]))
    assert present.tolist() == [[False, True, False]]


def test_an_episode_without_motion_and_a_directory_without_episodes_are_refused(tmp_path):
    VARIANTS.write(tmp_path)
    with pytest.raises(ValueError, match="at least 128 steps, found 0"):
        AlohaDemonstrations(tmp_path)
    write_aloha(tmp_path, (130,), moves_from=130)
    with pytest.raises(ValueError, match=r"episode_0\.hdf5: qpos: expected motion"):
        AlohaDemonstrations(tmp_path)
