from __future__ import annotations

import numpy as np
import pytest
import torch

from policies.robots import get_robot
from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.fitting import fit_processor
from policies.spatialvla.processor import ProcessorSettings
from policies.training_data import (
    BatchOrder,
    TrainingData,
    decode_images,
    jitter_colors,
    open_datasets,
    open_images,
    read_columns,
    split_frames,
)
from representation.data.depth import decode_depth
from tests.policies.demonstrations import write_demonstrations


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "push"
    write_demonstrations(root, 5, np.random.default_rng(0))
    return root


def base_from_tool(_):
    return np.eye(4)


@pytest.fixture(scope="module")
def data(demonstrations, tmp_path_factory):
    datasets = open_datasets((demonstrations,))
    columns = read_columns(datasets, "front", base_from_tool)
    settings, config = ProcessorSettings(), SpatialVLAConfig.tiny()
    spec = get_robot("panda")
    processor = fit_processor(columns.actions, columns.instructions, config, settings, spec, base_from_tool)
    directory = tmp_path_factory.mktemp("frames")
    decode_images(datasets, columns, processor, "front", directory)
    return TrainingData(columns, open_images(directory), processor)


def test_decoded_frames_are_those_of_the_dataset(data, demonstrations):
    episodes = list(open_datasets((demonstrations,))[0])
    colors = np.concatenate([episode["observation.images.front"] for episode in episodes])
    depth = np.concatenate([episode["observation.depth.front"] for episode in episodes])
    np.testing.assert_array_equal(data.images.rgb, colors)
    np.testing.assert_array_equal(decode_depth(data.images.depth_codes), depth)
    np.testing.assert_array_equal(data.columns.actions, np.concatenate([episode["action"] for episode in episodes]))
    assert data.columns.instructions[6] == "push the blue cube"


def test_a_batch_is_what_the_processor_makes_of_the_frames(data):
    frames = np.array([7, 2])
    batch = data.batch(frames)
    np.testing.assert_array_equal(
        batch["pixel_values"], data.images.rgb[frames].transpose(0, 3, 1, 2) / np.float32(255)
    )
    np.testing.assert_array_equal(batch["depth"], decode_depth(data.images.depth_codes[frames]))
    assert "labels" not in data.batch(frames, with_actions=False)


def test_chunks_stop_at_the_end_of_the_episode(data):
    actions, padding = data.chunks(np.array([0, 4, 5, 6]))
    assert padding.tolist() == [[False] * 4, [False, False, True, True], [False, True, True, True], [False] * 4]
    np.testing.assert_array_equal(actions[1, 2], data.columns.actions[5])
    np.testing.assert_array_equal(actions[3], data.columns.actions[6:10])


def test_held_out_episodes_are_whole_and_drawn_from_every_dataset(demonstrations):
    columns = read_columns(open_datasets((demonstrations, demonstrations)), "front", base_from_tool)
    training, held_out = split_frames(columns, 4, np.random.default_rng(0))
    assert set(columns.episode[training]).isdisjoint(columns.episode[held_out])
    assert len(training) + len(held_out) == len(columns.actions)
    assert [len(np.unique(columns.episode[held_out][columns.dataset[held_out] == k])) for k in (0, 1)] == [2, 2]
    with pytest.raises(ValueError, match="validation_episodes"):
        split_frames(columns, 10, np.random.default_rng(0))


def test_errors_are_reported_by_directory_and_task(tmp_path):
    write_demonstrations(tmp_path / "both", 2, np.random.default_rng(0), number_tasks=True)
    write_demonstrations(tmp_path / "plain", 1, np.random.default_rng(0))
    datasets = open_datasets((tmp_path / "both", tmp_path / "plain"))
    columns = read_columns(datasets, "front", base_from_tool)
    assert columns.group_names == ("both/task0", "both/task1", "plain")
    assert columns.group.tolist() == [0] * 6 + [1] * 6 + [2] * 6


def test_datasets_of_other_robots_are_refused(demonstrations, tmp_path):
    write_demonstrations(tmp_path / "other", 1, np.random.default_rng(0), robot_type="ur5")
    with pytest.raises(ValueError, match=r"robot_type: expected panda as in .*, found ur5"):
        open_datasets((demonstrations, tmp_path / "other"))


def test_missing_camera_is_named(demonstrations):
    with pytest.raises(ValueError, match=r"observation\.camera\.wrist"):
        read_columns(open_datasets((demonstrations,)), "wrist", base_from_tool)


def test_batch_order_visits_each_frame_once_an_epoch_and_can_start_anywhere():
    frames = np.arange(100, 121)
    order = BatchOrder(frames, 4, seed=3)
    batches = [order[number] for number in range(12)]
    epoch = np.concatenate(batches[:5])
    assert len(set(epoch)) == 20
    assert set(epoch) <= set(frames)
    assert not np.array_equal(batches[0], batches[5])
    np.testing.assert_array_equal(BatchOrder(frames, 4, seed=3)[11], batches[11])
    with pytest.raises(ValueError, match="batch_size"):
        BatchOrder(frames, 22, seed=0)


def test_weighted_batches_draw_each_frame_by_its_chance_and_can_start_anywhere():
    frames, weights = np.array([10, 20, 30]), np.array([0.6, 0.0, 0.2])
    order = BatchOrder(frames, 3, seed=3, weights=weights)
    drawn = np.concatenate([order[number] for number in range(1000)])
    shares = [np.mean(drawn == frame) for frame in frames]
    np.testing.assert_allclose(shares, [0.75, 0.0, 0.25], atol=0.03)
    np.testing.assert_array_equal(BatchOrder(frames, 3, seed=3, weights=weights)[11], order[11])
    assert not np.array_equal(order[0], order[1]) or not np.array_equal(order[1], order[2])


def test_color_jitter_is_drawn_from_its_generator_and_stays_in_range():
    pixels = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    first, again, other = (jitter_colors(pixels, 0.3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1
    assert 0.01 < (first - pixels).abs().mean() < 0.3
    assert torch.equal(jitter_colors(pixels, 0.0, torch.Generator()), pixels)
