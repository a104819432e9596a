from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from policies.rdt.aloha_dataset import AlohaDataset
from policies.rdt.augmentation import augment_pictures
from policies.rdt.hdf5_episodes import write_episode
from policies.rdt.image_tower import ImageFeatures
from policies.rdt.images import ordered_pictures, prepare_pictures
from policies.rdt.instructions import InstructionVariants


def write(directory, name, steps, moves_from=30):
    qpos = 0.001 * np.random.default_rng(steps).normal(size=(steps, 14))
    qpos[moves_from:] += 0.1 * np.arange(14)
    action = np.arange(steps)[:, None] / steps + np.zeros(14)
    pictures = np.zeros((steps, 4, 6, 3), np.uint8) + np.arange(steps, dtype=np.uint8)[:, None, None, None]
    write_episode(directory / name, qpos, action, {"exterior": pictures, "right_wrist": pictures})


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("episodes")
    InstructionVariants("Lift it.", ("Lift.",), ("Lift the cube.",)).write(directory)
    write(directory, "episode_0.hdf5", 128)
    write(directory, "episode_1.hdf5", 256)
    write(directory, "episode_2.hdf5", 127)
    return directory


@pytest.fixture(scope="module")
def dataset(directory):
    with pytest.warns(
        UserWarning, match=r"1 of 3 episodes have less than 128 steps and are dropped: \['episode_2.hdf5'"
    ):
        return AlohaDataset(directory)


def test_short_episodes_are_dropped_and_reported(dataset):
    assert [len(episode) for episode in dataset.episodes] == [128, 256]
    assert len(dataset) == 384
    assert [path.name for path in dataset.dropped] == ["episode_2.hdf5"]


def test_a_sample_has_the_step_its_chunk_and_the_episodes_statistics(dataset):
    sample = dataset.sample(0, 100, "Lift.")
    episode = dataset.episodes[0]
    np.testing.assert_array_equal(sample.state, episode.qpos[100:101])
    assert sample.actions.shape == (64, 14)
    np.testing.assert_array_equal(sample.actions[:28], episode.action[100:])
    assert (sample.actions[28:] == episode.action[-1]).all()
    np.testing.assert_allclose(sample.state_mean, episode.qpos.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(sample.state_std, episode.qpos.std(axis=0), atol=1e-6)
    np.testing.assert_allclose(sample.state_rms, np.sqrt((episode.qpos**2).mean(axis=0)), atol=1e-6)
    np.testing.assert_allclose(
        dataset.state_mean, np.concatenate([e.qpos for e in dataset.episodes]).mean(0), atol=1e-6
    )


def test_a_sample_has_two_frames_of_each_camera_and_none_of_an_absent_one(dataset):
    sample = dataset.sample(0, 100, "Lift.")
    assert sample.images["exterior"].shape == (2, 4, 6, 3)
    np.testing.assert_allclose(sample.images["exterior"][:, 0, 0, 0], [99, 100], atol=1)
    assert sample.valid["exterior"].tolist() == [True, True]
    assert sample.images["left_wrist"].shape == (2, 0, 0, 3)
    assert sample.valid["left_wrist"].tolist() == [False, False]
    missing = [picture is None for picture in ordered_pictures(sample.frames())]
    assert missing == [False, False, True, False, False, True]


def test_the_first_training_step_has_no_past(dataset):
    sample = dataset.sample(0, 29, "Lift.")
    assert sample.valid["exterior"].tolist() == [False, True]
    assert [picture is None for picture in ordered_pictures(sample.frames())] == [True] * 3 + [False, False, True]
    with pytest.raises(ValueError, match="step: expected 29 to 127, found 28"):
        dataset.sample(0, 28, "Lift.")


def test_episodes_are_drawn_by_length_and_steps_evenly_after_the_first_motion(dataset, monkeypatch):
    drawn = []
    monkeypatch.setattr(dataset, "sample", lambda *place: drawn.append(place))
    generator = np.random.default_rng(0)
    for _ in range(3000):
        dataset.draw(generator)
    counts = Counter(index for index, _, _ in drawn)
    assert abs(counts[1] / 3000 - 2 / 3) < 0.03
    for index, length in enumerate((128, 256)):
        steps = np.array([step for i, step, _ in drawn if i == index])
        assert steps.min() >= 29
        assert steps.max() == length - 1
        assert abs(steps.mean() - (29 + length - 1) / 2) < 6
    assert set(Counter(text for *_, text in drawn)) == {"Lift it.", "Lift.", "Lift the cube."}


def test_the_same_generator_draws_the_same_sample(dataset):
    first, second = (dataset.draw(np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first.actions, second.actions)
    np.testing.assert_array_equal(first.images["exterior"], second.images["exterior"])
    assert first.instruction == second.instruction


def test_an_episode_without_motion_and_a_directory_without_episodes_are_refused(tmp_path):
    InstructionVariants("Lift it.", ("Lift.",), ("Lift the cube.",)).write(tmp_path)
    with pytest.raises(ValueError, match="at least 128 steps, found 0"):
        AlohaDataset(tmp_path)
    write(tmp_path, "still.hdf5", 130, moves_from=130)
    with pytest.raises(ValueError, match=r"still\.hdf5: qpos: expected motion"):
        AlohaDataset(tmp_path)


class MeanColour:
    image_size, tokens_per_image, width = 8, 1, 3

    def __call__(self, pixels):
        return pixels.mean(dim=(2, 3))[:, None]


def test_a_sample_becomes_features_in_token_order_with_the_background_for_what_is_missing(dataset):
    encoder = ImageFeatures(MeanColour())
    sample = dataset.sample(0, 100, "Lift.")
    pictures = ordered_pictures(sample.frames())
    features = encoder.encode(*prepare_pictures(pictures, 8))
    padded = [(4 * level + 2 * 127) / 6 / 127.5 - 1 for level in (99, 100)]
    background = 127 / 127.5 - 1
    expected = [padded[0], padded[0], background, padded[1], padded[1], background]
    np.testing.assert_allclose(features[:, 0, 0], expected, atol=0.02)
    noisy = augment_pictures(pictures, np.random.default_rng(0), probability=1.0)
    assert (encoder.encode(*prepare_pictures(noisy, 8)) != features).any(dim=-1)[:, 0].tolist() == [
        picture is not None for picture in pictures
    ]
