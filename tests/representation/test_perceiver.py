import numpy as np
import pytest
import torch

from representation.interface import Progress
from representation.perceiver import Perceiver, Sight


class Brightness:
    """An encoder of pictures and a scorer: the mean of each colour."""

    modality, width = "image", 3

    def encode(self, inputs):
        return inputs.mean(dim=(2, 3))

    def scores(self, images, phrases):
        return torch.stack([self.encode(images)[:, k] for k in range(len(phrases))], dim=1).softmax(dim=1)

    def save(self, directory):
        raise NotImplementedError


class Extent:
    """An encoder of points: the largest distance along each axis."""

    modality, width = "points", 3

    def encode(self, inputs):
        return inputs.amax(dim=1) - inputs.amin(dim=1)

    def save(self, directory):
        raise NotImplementedError


class Story:
    """An encoder of clips: how many different pictures; and of progress: which of the steps it has come to."""

    modality, width = "clip", 1

    def encode(self, inputs):
        return torch.tensor([[float(len(clip.flatten(1).unique(dim=0)))] for clip in inputs])

    def progress(self, clip, steps, least=0.5):
        number = int(clip[-1].max() * 255)
        return Progress(tuple(steps[:number]), steps[number], None, True, 1.0) if number < len(steps) else None

    def save(self, directory):
        raise NotImplementedError


def sight(value, depth=None):
    rgb = np.zeros((8, 8, 3), np.uint8)
    rgb[..., 0] = value
    intrinsics = None if depth is None else np.array([[8.0, 0, 4], [0, 8, 4], [0, 0, 1]])
    return Sight(1.5, rgb, depth, intrinsics)


def test_pictures_become_vectors_and_scores_of_phrases():
    percept = Perceiver(Brightness(), phrases=("red", "green")).look(sight(255))
    np.testing.assert_allclose(percept.vector, [1, 0, 0])
    assert percept.stamp == 1.5
    assert percept.scores[0] > percept.scores[1]
    assert percept.scores.sum() == pytest.approx(1.0)
    assert percept.progress is None
    assert Perceiver(Brightness()).look(sight(255)).scores is None


def test_points_come_from_depth_in_metres():
    percept = Perceiver(Extent(), points=64).look(sight(0, np.full((8, 8), 2.0, np.float32)))
    np.testing.assert_allclose(percept.vector, [1.75, 1.75, 0.0], atol=1e-6)
    with pytest.raises(ValueError, match="sight: expected depth and intrinsics"):
        Perceiver(Extent()).look(sight(0))


def test_clips_last_from_the_beginning_of_the_episode_and_progress_follows_the_script():
    perceiver = Perceiver(Story(), script=("reach for it", "lift it up"))
    assert [perceiver.look(sight(value)).vector[0] for value in (0, 1, 2)] == [1, 2, 3]
    perceiver.restart()
    percept = perceiver.look(sight(1))
    assert percept.vector[0] == 1
    assert percept.progress.current == "lift it up"
    assert perceiver.look(sight(2)).progress is None


def test_what_an_encoder_cannot_do_is_refused():
    with pytest.raises(ValueError, match="phrases: expected none with Extent, which is no TextImageScorer"):
        Perceiver(Extent(), phrases=("red",))
    with pytest.raises(ValueError, match="script: expected none with Brightness, which is no ProgressTracker"):
        Perceiver(Brightness(), script=("reach for it",))


class Finder(Brightness):
    """Finds one kind of thing, as far to the right as the picture is red."""

    kinds = ("red",)

    def find(self, images):
        red = images[:, 0].mean(dim=(1, 2))
        return torch.stack([torch.ones_like(red), red, red, 0 * red], dim=1)[:, None]


def test_places_of_things_are_told_where_they_are_asked_for():
    depth = np.ones((8, 8), np.float32)
    perceiver = Perceiver(Finder(), find=True)
    assert perceiver.needs_depth
    np.testing.assert_allclose(perceiver.look(sight(255, depth)).found, [[1, 1, 1, 0]])
    assert Perceiver(Finder()).look(sight(255)).found is None
    with pytest.raises(ValueError, match="things: expected none with Brightness, which is no ThingFinder"):
        Perceiver(Brightness(), find=True)
