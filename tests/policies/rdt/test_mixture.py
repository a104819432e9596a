from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from policies.rdt.aloha_demonstrations import AlohaDemonstrations
from policies.rdt.demonstrations import Episode, background, join
from policies.rdt.embodiment import ALOHA_AGILEX, PANDA
from policies.rdt.hdf5_episodes import write_episode
from policies.rdt.images import BACKGROUND_LEVEL
from policies.rdt.instructions import InstructionVariants
from policies.rdt.lerobot_demonstrations import LeRobotDemonstrations
from policies.rdt.mixture import Mixture, open_demonstrations
from policies.rdt.unified_space import slots_of
from representation.data.lerobot_writer import LeRobotWriter
from tests.policies.rdt.episodes import SIDE, SPEC, write_aloha, write_bimanual
from tests.policies.rdt.episodes import VARIANTS as LIFT

VARIANTS = InstructionVariants("pick", ("take",), ("pick it up",))
PANDA_AT_20_HZ = replace(PANDA, control_hz=20.0)


def recorded(joints, lengths, name, variants=None, disturbed=()):
    """Demonstrations whose first joint is 0.01 times the number of the step, and 0.5 more in the actions."""
    episodes, begin = [], 0
    for length in lengths:
        states = np.zeros((length, joints))
        states[:, 0] = 0.01 * np.arange(begin, begin + length)
        actions = states.copy()
        actions[:, 0] += 0.5
        marks = np.isin(np.arange(begin, begin + length), disturbed)
        episodes.append(Episode(states, actions, marks, states.std(axis=0), ["pick"] * length, name))
        begin += length
    return SimpleNamespace(path=Path(name), robot="", control_hz=None, variants=variants, steps=join(episodes))


def level_of_step(role):
    """Pictures of one camera, whose level is the number of the step."""

    def read(steps):
        pictures, present = background(len(steps), 4)
        pictures[:, role], present[:, role] = steps[:, None, None, None], True
        return pictures, present

    return read


@pytest.fixture
def mixture():
    datasets = [recorded(8, (5, 7), "one arm"), recorded(14, (4, 6), "two arms", VARIANTS)]
    mixture = Mixture(datasets, with_variants=True)
    pictures = [level_of_step(0), level_of_step(1)]
    mixture.embody([PANDA_AT_20_HZ, ALOHA_AGILEX], pictures, np.arange(22))
    return mixture


def test_chunks_with_a_disturbed_step_are_not_to_be_learned():
    mixture = Mixture([recorded(8, (5, 7), "one", disturbed=[2, 11]), recorded(8, (4,), "two")], with_variants=False)
    assert np.flatnonzero(~mixture.undisturbed([3, 3])).tolist() == [0, 1, 2, 9, 10, 11]
    assert np.flatnonzero(~mixture.undisturbed([1, 3])).tolist() == [2, 11]


def test_steps_episodes_and_groups_have_one_count(mixture):
    assert mixture.dataset.tolist() == [0] * 12 + [1] * 10
    assert mixture.episode.tolist() == [0] * 5 + [1] * 7 + [2] * 4 + [3] * 6
    assert mixture.group_names == ("one arm", "two arms")
    assert mixture.group.tolist() == mixture.dataset.tolist()
    assert [part.tolist() for part in mixture.split(np.array([3, 12, 21, 0]))] == [[3, 0], [0, 9]]


def test_a_batch_of_both_has_each_step_in_its_place_with_its_own_slots_and_rate(mixture):
    steps = np.array([13, 2, 20, 11])
    batch = mixture.samples(steps, rows=3, history=False)
    assert batch["frequency"].tolist() == [25, 20, 25, 20]
    assert batch["slots"].sum(1).tolist() == [14, 8, 14, 8]
    own = [0.01, 0.02, 0.08, 0.11]  # of the first joint: slot 50 of the left arm, slot 0 of the only one
    first = [50, 0, 50, 0]
    np.testing.assert_allclose(batch["state"][range(4), 0, first], own, atol=1e-6)
    np.testing.assert_allclose(batch["actions"][range(4), 0, first], np.array(own) + 0.5, atol=1e-6)
    # Step 11 is the last of its episode.
    np.testing.assert_allclose(batch["actions"][3, :, 0], [0.61] * 3, atol=1e-6)
    means = [0.045, 0.055, 0.045, 0.055]
    np.testing.assert_allclose(batch["mean_state"][range(4), first], means, atol=1e-6)


def test_the_deviation_of_the_state_has_the_scale_of_the_embodiment_and_no_offset(mixture):
    gripper = replace(PANDA, state_scale=(2.0,) * 8, state_offset=(3.0,) * 8)
    mixture.embody([gripper, ALOHA_AGILEX], [level_of_step(0)] * 2, np.arange(22))
    found = mixture.samples(np.array([0]), rows=1, history=False)["state_std"][0]
    assert found[0] == pytest.approx(np.std(0.01 * np.arange(5)) / 2)
    assert found[1:].abs().max() == 0


def test_the_size_of_the_state_is_that_of_the_steps_episode_in_the_unified_space(mixture):
    found = mixture.state_rms(np.array([13, 0, 6, 2]))
    episodes = [0.01 * np.arange(begin, end) for begin, end in ((0, 4), (0, 5), (5, 12), (0, 5))]
    slots = [slots_of(body.names)[0] for body in (ALOHA_AGILEX, PANDA, PANDA, PANDA)]
    for size, episode, slot in zip(found, episodes, slots, strict=True):
        assert size[slot] == pytest.approx(np.sqrt(np.mean(episode**2)), rel=1e-5)
        assert np.delete(size, slot).max() == 0


def test_pictures_are_ordered_by_time_and_role_and_grey_before_the_episode(mixture):
    batch = mixture.samples(np.array([13, 5, 4]), rows=1, history=True)
    assert batch["pictures"].shape == (3, 6, 4, 4, 3)
    levels = batch["pictures"][:, :, 0, 0, 0].tolist()
    grey = BACKGROUND_LEVEL
    assert levels == [
        [grey, 0, grey, grey, 1, grey],  # the second step of the second dataset
        [grey, grey, grey, 5, grey, grey],  # the first of its episode
        [3, grey, grey, 4, grey, grey],
    ]
    assert torch.equal(batch["present"], batch["pictures"][:, :, 0, 0, 0] != grey)


def test_texts_are_drawn_from_the_variants_of_their_dataset_only(mixture):
    steps = np.array([0, 12] * 200)
    drawn = mixture.texts(steps, np.random.default_rng(0))
    assert set(drawn[::2]) == {"pick"}
    assert set(drawn[1::2]) == {"pick", "take", "pick it up"}
    assert set(mixture.texts(steps, None)) == {"pick"}
    assert mixture.all_texts() == ["pick", "take", "pick it up"]
    plain = Mixture(mixture.datasets, with_variants=False)
    assert set(plain.texts(steps, np.random.default_rng(0))) == set(plain.all_texts()) == {"pick"}


def test_each_dataset_has_its_share_of_the_weights(mixture):
    steps = np.array([0, 1, 2, 12])
    weights = mixture.weights((3.0, 1.0), steps)
    np.testing.assert_allclose(weights, [0.25, 0.25, 0.25, 0.25])
    np.testing.assert_allclose(mixture.weights((1.0, 1.0), steps), [1 / 6, 1 / 6, 1 / 6, 1 / 2])
    for wrong in ((1.0,), (1.0, 0.0), (1.0, np.inf)):
        with pytest.raises(ValueError, match=r"--rdt\.weights: expected 2 numbers > 0, found"):
            mixture.weights(wrong, steps)


def test_errors_are_in_the_numbers_of_each_robot(mixture):
    steps = np.array([12, 0])
    vectors = mixture.samples(steps, rows=2, history=False)["actions"].numpy().astype(np.float64)
    np.testing.assert_allclose(mixture.errors(steps, vectors), 0.0, atol=1e-5)
    vectors[0, :, 60] += 1.0  # a whole opening of the left gripper, as it is commanded
    vectors[1, :, 0] += 0.8
    np.testing.assert_allclose(mixture.errors(steps, vectors), [11.8997 / 14, 0.8 / 8], atol=1e-5)


def test_rows_that_lie_closer_than_steps_are_resampled_and_their_errors_are_those_of_steps():
    body = replace(PANDA_AT_20_HZ, chunk_steps=3, frequency=25.0)
    mixture = Mixture([recorded(8, (6,), "one arm")], with_variants=False)
    mixture.embody([body], [level_of_step(0)], np.arange(6))
    batch = mixture.samples(np.array([1, 4]), rows=5, history=False)
    # Commands 0.51, 0.52 and 0.53 at rows 0, 2 and 4; 0.54 and the last of the episode twice.
    expected = [[0.51, 0.515, 0.52, 0.525, 0.53], [0.54, 0.545, 0.55, 0.55, 0.55]]
    np.testing.assert_allclose(batch["actions"][:, :, 0], expected, rtol=1e-6)
    assert batch["frequency"].tolist() == [25, 25]
    vectors = batch["actions"].double().numpy()
    np.testing.assert_allclose(mixture.errors(np.array([1, 4]), vectors), 0.0, atol=1e-6)
    vectors[:, 1] += 1.0  # between two commands
    np.testing.assert_allclose(mixture.errors(np.array([1, 4]), vectors), 0.0, atol=1e-6)
    vectors[:, 2, 0] += 0.3
    np.testing.assert_allclose(mixture.errors(np.array([1, 4]), vectors), 0.3 / (3 * 8), atol=1e-6)


def test_numbers_in_other_units_are_refused_with_dataset_and_slot():
    data = recorded(8, (5,), "degrees")
    data.steps.actions[2, 3] = 90
    with pytest.raises(ValueError, match=r"degrees: panda: arm_joint_3_pos: expected SI units, at most 10, found 90"):
        Mixture([data], True).embody([PANDA], [level_of_step(0)], np.arange(5))


def test_the_format_of_a_directory_is_recognised(tmp_path):
    write_aloha(tmp_path / "lift", (128,))
    write_bimanual(tmp_path / "turn", np.random.default_rng(0), episodes=1)
    assert isinstance(open_demonstrations(tmp_path / "lift", "bgr", False), AlohaDemonstrations)
    assert isinstance(open_demonstrations(tmp_path / "turn", "bgr", False), LeRobotDemonstrations)
    with pytest.raises(ValueError, match=r"info\.json"):
        open_demonstrations(tmp_path, "bgr", False)


def write_both(root, steps=140):
    """The same episode in both formats: joints that turn from step 10 on, and pictures that brighten."""
    rng = np.random.default_rng(0)
    states = np.tile(SPEC.home, (steps, 1)) + 0.001 * rng.normal(size=(steps, 14))
    states[10:, :6] += 0.02 * np.arange(1, steps - 9)[:, None]
    actions = states + 0.01
    pictures = np.zeros((steps, SIDE, SIDE, 3), np.uint8) + np.arange(steps, dtype=np.uint8)[:, None, None, None]
    (root / "aloha").mkdir()
    LIFT.write(root / "aloha")
    write_episode(root / "aloha" / "episode_0.hdf5", states, actions, {"exterior": pictures})
    joints = {"dtype": "float32", "shape": (14,)}
    video = {"dtype": "video", "shape": (SIDE, SIDE, 3)}
    features = {"observation.images.top": video, "observation.state": joints, "action": joints}
    writer = LeRobotWriter(root / "lerobot", 25, features, "aloha")
    for picture, state, action in zip(pictures, states.astype("f4"), actions.astype("f4"), strict=True):
        frame = {"observation.images.top": picture, "observation.state": state, "action": action}
        writer.add_frame(frame, task="Lift it.")
    writer.save_episode()
    writer.finalize()


def test_the_same_episode_gives_the_same_batch_in_both_formats(tmp_path):
    write_both(tmp_path)
    datasets = [open_demonstrations(tmp_path / name, "bgr", False) for name in ("aloha", "lerobot")]
    body = replace(ALOHA_AGILEX, cameras=("top", "", ""))
    file = tmp_path / "pictures" / "0.npy"
    for data in datasets:
        data.decode(body.cameras, SIDE, file, progress=False)
    mixture = Mixture(datasets, with_variants=False)
    pictures = [data.pictures(body.cameras, SIDE, file) for data in datasets]
    mixture.embody([body, body], pictures, np.arange(len(mixture.dataset)))
    begin = 9  # the step before the motion, where the episode of ALOHA begins
    steps = np.array([0, 1, 60, 130])
    lengths = [len(data.steps) for data in datasets]
    assert lengths == [140 - begin, 140]
    one = mixture.samples(steps, rows=64, history=True)
    other = mixture.samples(steps + lengths[0] + begin, rows=64, history=True)
    for name in ("state", "actions", "slots", "frequency", "state_std"):
        torch.testing.assert_close(one[name], other[name], msg=name)
    later = slice(1, None)  # at its first step an episode of ALOHA has no past
    assert torch.equal(one["present"][later], other["present"][later])
    difference = (one["pictures"][later].float() - other["pictures"][later].float()).abs()
    assert difference.max() <= 3  # what JPEG and video change
    assert mixture.texts(steps, None) == mixture.texts(steps + lengths[0], None)
