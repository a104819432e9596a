from __future__ import annotations

import numpy as np
import pytest
import torch

from representation.dynamics.gcrl.playback import Agent, TrackPlayback
from representation.dynamics.gcrl.tracks import Tracks


@pytest.fixture
def tracks() -> Tracks:
    """Two scenes of 0.8 s; nobody but the arm is in the second."""
    scenes = torch.zeros(2, 3, 2, 2)
    scenes[0, :, 0, 0] = torch.tensor([0.0, 1.0, 3.0])
    scenes[0, :, 1, 1] = torch.tensor([5.0, 5.0, 7.0])
    scenes[1, :, 0] = -1.0
    scenes[1, :, 1] = np.nan
    return Tracks(scenes, ("arm", "person"), "hall", 0.4)


@pytest.fixture
def playback(tracks) -> TrackPlayback:
    return TrackPlayback(tracks)


def test_between_two_steps_all_go_straight_on(playback):
    assert playback.at(0.0) == [Agent("arm", 0, (0.0, 0.0)), Agent("person", 1, (0.0, 5.0))]
    arm, person = playback.at(0.6)
    assert arm.place == pytest.approx((2.0, 0.0))
    assert person.place == pytest.approx((0.0, 6.0))


def test_scenes_follow_each_other_with_others_in_them_and_the_first_comes_again(playback):
    assert playback.at(0.9) == [Agent("arm", 2, (-1.0, -1.0))]
    assert [agent.number for agent in playback.at(1.7)] == [4, 5]
    assert playback.at(1.7)[0].place == pytest.approx(playback.at(0.1)[0].place)


def test_it_begins_with_the_scene_that_is_asked_for(tracks):
    later = TrackPlayback(tracks, 1)
    assert [agent.kind for agent in later.at(0.1)] == ["arm"]
    assert [agent.kind for agent in later.at(0.9)] == ["arm", "person"]
    with pytest.raises(ValueError, match="first scene: expected 0 to 1, found 2"):
        TrackPlayback(tracks, 2)
