from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from policies.spatialvla.processor import ProcessorSettings, hold_after_end
from tests.policies.spatialvla.conftest import (
    INSTRUCTIONS,
    demonstration_actions,
    fake_base_from_tool,
    make_frames,
    make_observations,
    make_processor,
)


@pytest.fixture(scope="module")
def processor():
    return make_processor()


def test_a_prompt_reads_image_state_padding_start_instruction_newline(processor):
    ids = processor.text(["Reach the cube", INSTRUCTIONS[0]])["input_ids"].numpy()
    config, tokenizer = processor.config, processor.tokenizer
    assert (ids[:, : config.image_tokens] == config.image_token_index).all()
    assert (ids[:, config.image_tokens] == config.state_token_index).all()
    words = [tokenizer.id_to_token(i) for i in ids[0, config.image_tokens + 1 :]]
    assert words == ["<pad>", "<pad>", "<bos>", "reach", "the", "cube", "\n"]


def test_unknown_words_become_unknown_tokens_and_do_not_fail(processor):
    ids = processor.text(["levitate the cube"])["input_ids"][0]
    assert int((ids == processor.tokenizer.token_to_id("<unk>")).sum()) == 1


def test_labels_are_the_action_tokens_and_the_end(processor):
    rng = np.random.default_rng(0)
    actions = demonstration_actions(rng, 8).reshape(2, 4, 7)
    inputs = processor.collate(**make_frames(rng, 2), actions=actions)
    assert torch.equal(inputs["labels"], inputs["input_ids"][:, -13:])
    assert (inputs["labels"][:, -1] == processor.config.eos_token_id).all()
    decoded = processor.decode(inputs["labels"][:, :-1].numpy())
    np.testing.assert_array_equal(decoded[..., 6], actions[..., 6])
    # Bins are coarse in the tiny grid; they must still tell directions apart.
    assert np.corrcoef(decoded[..., :3].ravel(), actions[..., :3].ravel())[0, 1] > 0.5


def test_rows_past_the_end_hold_still_in_physical_units_and_keep_the_gripper():
    actions = np.arange(28.0).reshape(1, 4, 7)
    held = hold_after_end(actions, np.array([[False, False, True, True]]))
    np.testing.assert_array_equal(held[0, 2:, :6], 0)
    np.testing.assert_array_equal(held[0, 2:, 6], actions[0, 1, 6])
    np.testing.assert_array_equal(held[0, :2], actions[0, :2])


def test_padded_rows_train_the_token_of_physical_zero(processor):
    rng = np.random.default_rng(0)
    actions = demonstration_actions(rng, 4).reshape(1, 4, 7)
    padding = np.array([[False, True, True, True]])
    labels = processor.collate(**make_frames(rng, 1), actions=actions, padding=padding)["labels"][0, 3:6]
    zero = np.array([0, 0, 0, 0, 0, 0, actions[0, 0, 6]])
    np.testing.assert_array_equal(labels, processor.actions.encode(processor.normalizer.normalize(zero)))


def test_a_chunk_that_starts_past_the_end_is_refused(processor):
    with pytest.raises(ValueError, match="real first rows"):
        hold_after_end(np.zeros((1, 4, 7)), np.ones((1, 4), bool))


def test_observations_give_the_inputs_of_the_same_dataset_frames(processor):
    rng = np.random.default_rng(0)
    observations = make_observations(rng, 3, size=40)
    frames = make_frames(np.random.default_rng(0), 3, size=40)
    seen, collated = processor.observe(observations), processor.collate(**frames)
    assert seen.keys() == collated.keys()
    for name, value in seen.items():
        assert torch.equal(value, collated[name]), name


def test_preparing_images_once_gives_the_same_inputs(processor):
    frames = make_frames(np.random.default_rng(0), 2, size=40)
    rgb, depth, intrinsics = processor.images(frames["rgb"], frames["depth"], frames["intrinsics"])
    again = processor.collate(**{**frames, "rgb": rgb, "depth": depth, "intrinsics": intrinsics})
    for name, value in processor.collate(**frames).items():
        assert torch.equal(value, again[name]), name


def test_state_holds_position_two_rotation_columns_and_opening(processor):
    frames = make_frames(np.random.default_rng(0), 1)
    frames["joint_positions"][0, -1] = 0.01
    pose = fake_base_from_tool(frames["joint_positions"][0])
    state = processor.collate(**frames)["state"][0].numpy()
    expected = [*pose[:3, 3], *pose[:3, 0], *pose[:3, 1], 0.25]
    np.testing.assert_allclose(state, expected, atol=1e-6)


def test_a_missing_camera_is_named(processor):
    observations = make_observations(np.random.default_rng(0), 1, cameras=("wrist",))
    with pytest.raises(ValueError, match=r"expected 'front', found \['wrist'\]"):
        processor.observe(observations)


def test_joints_of_another_robot_are_refused(processor):
    observation = make_observations(np.random.default_rng(0), 1)[0]
    other = replace(observation, joint_positions=np.zeros(6), joint_velocities=np.zeros(6))
    with pytest.raises(ValueError, match="expected 8 of panda, found 6"):
        processor.observe([other])


def test_a_dead_band_holds_still_where_the_bins_cannot(processor):
    still = np.zeros((1, 4, 7))
    ids = processor.actions.encode(processor.normalizer.normalize(still)).reshape(1, -1)
    drift = processor.decode(ids)
    length = np.linalg.norm(drift[..., :3], axis=-1).max()
    assert length > 0
    for band, moves in ((0.99 * length, True), (1.01 * length, False)):
        banded = replace(processor, settings=replace(processor.settings, dead_band_m=band, dead_band_rad=1.0))
        assert banded.decode(ids)[..., :3].any() == moves
        assert not banded.decode(ids)[..., 3:6].any()
        np.testing.assert_array_equal(banded.decode(ids)[..., 6], drift[..., 6])


@pytest.mark.parametrize("wrong", [{"dead_band_m": -1.0}, {"depth_scale": 0.0}, {"intrinsics": "guessed"}])
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ProcessorSettings(**wrong)
