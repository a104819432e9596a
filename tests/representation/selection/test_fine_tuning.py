import numpy as np
import pytest
import torch

from representation.data.frames import Frames
from representation.pretraining import mochi
from representation.selection.baselines import RawPixels
from representation.selection.fine_tuning import FineTuning, fine_tune


def colored(count=90):
    """Pictures of three noisy colours; three of them are an episode."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    images = np.eye(3)[labels][:, None, None] * 120 + rng.uniform(0, 120, (count, 16, 16, 3))
    return Frames(images.astype(np.uint8), np.arange(count) // 3), labels


@pytest.mark.parametrize("raw", [True, False])
def test_a_copy_learns_the_task_and_the_encoder_stays_as_it_was(raw):
    frames, labels = colored()
    encoder = RawPixels() if raw else mochi.new(mochi.Config(resolution=16, width=16), frames, 0).encoder.eval()
    before = {} if raw else {name: value.clone() for name, value in encoder.state_dict().items()}
    rows = np.arange(60), np.arange(60, 90)
    truth = fine_tune(encoder, frames, labels, rows, FineTuning(20, 8), seed=0)
    assert truth.accuracy > 0.9
    assert truth.rate in FineTuning().rates
    again = fine_tune(encoder, frames, labels, rows, FineTuning(20, 8), seed=0)
    assert (again.accuracy, again.rate) == (truth.accuracy, truth.rate)
    if not raw:
        assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_labels_that_say_nothing_are_told_by_chance():
    frames, labels = colored()
    shuffled = np.random.default_rng(1).permutation(labels)
    truth = fine_tune(RawPixels(), frames, shuffled, (np.arange(60), np.arange(60, 90)), FineTuning(10, 8), seed=0)
    assert truth.accuracy < 0.7
    assert truth.error > 0


def test_bad_options_are_told():
    with pytest.raises(ValueError, match="steps, batch_size, rates"):
        FineTuning(rates=())
    frames, labels = colored()
    with pytest.raises(ValueError, match="batch_size: expected at most"):
        fine_tune(RawPixels(), frames, labels, (np.arange(6), np.arange(60, 90)), FineTuning(2), seed=0)
