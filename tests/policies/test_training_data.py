from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from policies.robots import get_robot
from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.fitting import fit_processor
from policies.spatialvla.needed_inputs import NeededInputs
from policies.spatialvla.processor import ProcessorSettings
from policies.training_data import (
    TrainingData,
    decode_images,
    open_datasets,
    open_images,
    read_columns,
)
from representation.data.batches import split_frames
from representation.data.depth import decode_depth
from tests.policies.demonstrations import write_demonstrations


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "push"
    write_demonstrations(root, 5, np.random.default_rng(0))
    return root


ALL = NeededInputs(depth=True, intrinsics=True, camera_pose=True, joints=True)


def base_from_tool(_):
    return np.eye(4)


@pytest.fixture(scope="module")
def data(demonstrations, tmp_path_factory):
    datasets = open_datasets((demonstrations,))
    columns = read_columns(datasets, "front", ALL, base_from_tool)
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
    columns = read_columns(open_datasets((demonstrations, demonstrations)), "front", ALL, base_from_tool)
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
    columns = read_columns(datasets, "front", ALL, base_from_tool)
    assert columns.group_names == ("both/task0", "both/task1", "plain")
    assert columns.group.tolist() == [0] * 6 + [1] * 6 + [2] * 6


def test_datasets_of_other_robots_are_refused(demonstrations, tmp_path):
    write_demonstrations(tmp_path / "other", 1, np.random.default_rng(0), robot_type="ur5")
    with pytest.raises(ValueError, match=r"robot_type: expected panda as in .*, found ur5"):
        open_datasets((demonstrations, tmp_path / "other"))


def test_missing_camera_is_named(demonstrations):
    with pytest.raises(ValueError, match=r"push: expected observation\.images\.wrist, the view"):
        read_columns(open_datasets((demonstrations,)), "wrist", ALL, base_from_tool)


PLAIN_NEEDS = NeededInputs(depth=False, intrinsics=False, camera_pose=False, joints=False)


@pytest.mark.parametrize(
    ("need", "key", "way_out"),
    [
        ("depth", "observation.depth.front", "--no-ego3d, or by --initial .* --depth-source estimated"),
        ("intrinsics", "observation.camera.front.intrinsics", "--no-ego3d, or by --initial .* --intrinsics unified"),
        ("camera_pose", "observation.camera.front.base_from_camera", "--no-ego3d, or by --initial .* camera's frame"),
        ("joints", "observation.state", "--initial with a policy that has neither"),
    ],
)
def test_only_what_is_needed_must_be_there_and_what_is_missing_has_a_way_out(tmp_path, need, key, way_out):
    root = tmp_path / "bare"
    write_demonstrations(root, 2, np.random.default_rng(0), keys=("observation.images.front", "action"))
    columns = read_columns(open_datasets((root,)), "front", PLAIN_NEEDS, base_from_tool)
    assert (columns.intrinsics, columns.base_from_camera, columns.joint_positions, columns.base_from_tool) == (
        None,
    ) * 4
    assert columns.actions.shape == (12, 7)
    with pytest.raises(ValueError, match=rf"bare: expected {key}, .*{way_out}"):
        read_columns(open_datasets((root,)), "front", replace(PLAIN_NEEDS, **{need: True}), base_from_tool)
