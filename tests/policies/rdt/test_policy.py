from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import SiglipVisionConfig

from policies.execution.kinematics import Kinematics
from policies.interface import (
    CameraView,
    Continuation,
    ContinuingPolicy,
    JointReadings,
    Observation,
    Policy,
    load_policy,
)
from policies.rdt.config import RDTConfig
from policies.rdt.embedding_files import write_embedding
from policies.rdt.embedding_folder import EmbeddingFolder
from policies.rdt.embodiment import ALOHA_AGILEX, FRANKA_EEF, PANDA
from policies.rdt.image_tower import SiglipTower
from policies.rdt.policy import RDTPolicy
from policies.rdt.settings import RDTSettings
from policies.rdt.unified_space import slots_of
from policies.robots import get_robot
from tests.policies.rdt.conftest import random_model

SPEC = get_robot("panda")
TOWER = {"hidden_size": 48, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
INSTRUCTIONS = ("pick up the red cube", "", "reach the ball")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    directory = tmp_path_factory.mktemp("embeddings")
    generator = torch.Generator().manual_seed(0)
    for index, instruction in enumerate(INSTRUCTIONS):
        write_embedding(
            directory / f"{index}.safetensors", torch.randn(3, 32, generator=generator), instruction, "test"
        )
    return EmbeddingFolder(directory, 32)


def make_policy(text, embodiment=PANDA, max_delay=None, **config):
    torch.manual_seed(0)
    tower = SiglipTower(SiglipVisionConfig(**TOWER, image_size=28, patch_size=14))
    model = random_model(config=replace(RDTConfig.tiny(), **config))
    return RDTPolicy(model, tower, text, RDTSettings("panda", embodiment, max_delay=max_delay))


@pytest.fixture
def policy(text):
    return make_policy(text)


def observe(stamp=0.0, cameras=("front", "wrist"), instruction=INSTRUCTIONS[0], seed=0):
    rng = np.random.default_rng((seed, abs(round(stamp * 1000))))
    views = {
        name: CameraView(rng.integers(0, 256, (24, 32, 3), np.uint8), np.ones((24, 32)), np.eye(3), np.eye(4))
        for name in ("front", "wrist")
    }
    views = {name: views[name] for name in cameras}
    return Observation(stamp, views, SPEC.home, np.zeros(len(SPEC.home)), instruction)


def test_it_is_a_policy_that_answers_with_joint_rows(policy):
    assert isinstance(policy, Policy)
    assert (policy.robot, policy.cameras, policy.control_hz, policy.chunk_length) == (
        "panda",
        ("front", "wrist"),
        10,
        8,
    )
    policy.reset(0)
    chunk = policy.act(observe())
    assert (chunk.kind, chunk.dt, chunk.rows.shape) == ("joint", 0.1, (8, 8))
    assert np.isfinite(chunk.rows).all()
    assert policy.instructions == INSTRUCTIONS


def test_rows_that_lie_closer_than_commands_become_commands_at_the_control_rate(text):
    body = replace(PANDA, chunk_steps=3, frequency=25.0)
    policy = make_policy(text, body)
    assert (policy.control_hz, policy.chunk_length) == (10.0, 3)
    vectors = torch.zeros(8, 128)
    vectors[:, 0] = torch.arange(8) / 7
    chunk = policy.chunk(observe(), vectors)
    assert chunk.dt == pytest.approx(0.1)
    np.testing.assert_allclose(chunk.rows[:, 0], [0.0, 0.5, 1.0], atol=1e-6)
    told_otherwise = make_policy(text, replace(body, frequency=None))
    answers = [one.act(observe()).rows for one in (policy, told_otherwise)]
    assert answers[0].shape == (3, 8)
    assert not np.allclose(*answers)
    with pytest.raises(ValueError, match="chunk_steps: expected 2 to the 8 rows"):
        make_policy(text, replace(body, chunk_steps=9))


def test_noise_follows_the_seed(policy):
    def rows(seed):
        policy.reset(seed)
        return policy.act(observe()).rows

    assert (rows(1) == rows(1)).all()
    assert (rows(1) != rows(2)).any()


def pictures(observation, cameras=("front", "wrist")):
    return {name: observation.cameras[name].rgb for name in cameras}


def looking_back(stamp):
    """An observation with the pictures of 0.1 s before it, in arrays of their own."""
    return replace(observe(stamp), earlier=pictures(observe(stamp - 0.1)))


def test_the_picture_of_one_step_ago_counts_where_the_observation_carries_it(policy):
    assert policy.looks_back
    assert not make_policy(policy.text, image_grid=(1, 3, 4)).looks_back

    def rows(observation):
        policy.reset(0)
        return policy.act(observation).rows

    first = rows(observe(0.1))
    policy.draw(observe(0.0), [None] * 6, 1)  # the same number of draws
    assert (rows(observe(0.1)) == first).all()
    assert np.abs(rows(looking_back(0.1)) - first).max() > 1e-4
    grey = replace(observe(0.1), earlier=dict.fromkeys(("front", "wrist"), np.full((24, 32, 3), 127, np.uint8)))
    np.testing.assert_allclose(rows(grey), first, atol=1e-5)


def test_pictures_are_ordered_by_time_and_then_by_the_role_of_their_camera(policy):
    seen = replace(observe(0.1), earlier=pictures(observe(0.0), ("wrist",)))
    found = policy.pictures(seen)
    assert [picture is None for picture in found] == [True, False, True, False, False, True]
    assert found[1] is seen.earlier["wrist"]
    assert found[3] is seen.cameras["front"].rgb
    assert found[4] is seen.cameras["wrist"].rgb


def test_of_one_moment_only_the_present_is_seen(policy):
    present = make_policy(policy.text, image_grid=(1, 3, 4))

    def rows(observation):
        present.reset(0)
        return present.act(observation).rows

    assert (rows(observe(0.1)) == rows(looking_back(0.1))).all()


def test_pictures_and_texts_are_encoded_once(policy, monkeypatch):
    counts = {"pictures": 0, "texts": 0}
    encode, embed = policy._features.encode, policy.text

    def counted(pixels, present):
        counts["pictures"] += len(pixels)
        return encode(pixels, present)

    def counted_text(instruction):
        counts["texts"] += 1
        return embed(instruction)

    monkeypatch.setattr(policy._features, "encode", counted)
    monkeypatch.setattr(policy, "text", counted_text)
    policy.reset(0)
    policy.act(observe(0.0))
    for step in (1, 2):
        policy.act(looking_back(0.1 * step))
    assert counts == {"pictures": 6, "texts": 1}, "a picture comes again in another array"
    policy.act(observe(0.3, instruction=INSTRUCTIONS[2]))
    assert counts == {"pictures": 8, "texts": 2}
    policy.act(looking_back(0.9))
    assert counts["pictures"] == 12


def test_a_lost_wrist_camera_is_the_background_and_not_another_picture(policy):
    policy.reset(0)
    without = policy.act(observe(cameras=("front",))).rows
    observation = observe()
    grey = CameraView(np.full((24, 32, 3), 127, np.uint8), np.ones((24, 32)), np.eye(3), np.eye(4))
    policy.reset(0)
    with_grey = policy.act(replace(observation, cameras={**observation.cameras, "wrist": grey})).rows
    np.testing.assert_allclose(without, with_grey, atol=1e-5)
    policy.reset(0)
    assert np.abs(policy.act(observation).rows - without).max() > 1e-4
    with pytest.raises(ValueError, match=r"cameras: expected some of \['front', 'wrist'\]"):
        policy.act(observe(cameras=()))


def test_a_batch_is_answered_as_first_observations(policy):
    policy.reset(0)
    chunks = policy.act_batch([observe(0.0), observe(0.1)])
    policy.reset(0)
    assert (policy.act(observe(0.0)).rows == chunks[0].rows).all()
    assert (policy.act(observe(0.1)).rows == chunks[1].rows).all()


def test_how_the_joints_moved_before_counts_and_is_forgotten_at_a_reset_and_in_a_batch(text):
    policy = make_policy(text, history_steps=5)
    stamps = np.array([0.1, 0.2, 0.3])
    moved = replace(observe(0.4), readings=JointReadings(stamps, SPEC.home + 0.1 * stamps[:, None] * SPEC.upper))

    def rows(observation):
        policy.reset(0)
        return policy.act(observation).rows

    still = rows(observe(0.4))
    assert np.abs(rows(moved) - still).max() > 1e-4
    assert (rows(observe(0.4)) == still).all()
    policy.reset(0)
    policy.act_batch([moved])
    policy.reset(0)
    assert (policy.act_batch([observe(0.4)])[0].rows == still).all()


def test_a_history_needs_an_embodiment_of_joints(text):
    with pytest.raises(ValueError, match="'franka_eef': expected joints for a history, found 'eef'"):
        make_policy(text, replace(FRANKA_EEF, cameras=("front", "wrist", "")), history_steps=5)


def test_many_samples_share_their_conditions_and_differ(policy):
    samples = policy.draw(observe(), [None] * 6, 4)
    assert samples.shape == (4, 8, 128)
    assert (samples[0] - samples[1]).abs().max() > 1e-3


def test_a_regression_network_cannot_go_on_with_its_chunks(policy):
    settings = replace(policy.settings, objective="regression")
    regression = RDTPolicy(policy.model, policy.tower, policy.text, settings)
    assert np.isfinite(regression.act(observe()).rows).all()
    with pytest.raises(ValueError, match="found one trained for regression"):
        regression.act_on(observe(0.1), Continuation(0))


def at(observation, joints):
    return replace(observation, joint_positions=joints)


def test_a_chunk_goes_on_with_the_one_before(policy):
    assert isinstance(policy, ContinuingPolicy)
    policy.reset(0)
    first = policy.act_on(observe(0.0), Continuation(0))
    running = policy._running._chunks[-1].vectors
    later = at(observe(0.2), first.rows[1])
    second = policy.act_on(later, Continuation(3, "replace"))
    np.testing.assert_allclose(second.rows[:3, :7], first.rows[2:5, :7], atol=1e-6)
    assert np.abs(second.rows[3, :7] - first.rows[5, :7]).max() > 1e-3
    (gripper,) = slots_of(PANDA.names[7:])
    assert policy._running._chunks[-1].vectors[0, gripper] != running[2, gripper]  # it is free


@pytest.mark.parametrize("change", [{"schedule": "zeros"}, {"jacobian": "identity"}])
def test_the_schedule_and_the_jacobian_of_guidance_may_be_chosen(policy, change):
    def answer(**how):
        policy.reset(0)
        first = policy.act_on(observe(0.0), Continuation(0))
        return policy.act_on(at(observe(0.2), first.rows[1]), Continuation(2, "guided", **how)).rows

    usual = answer()
    np.testing.assert_array_equal(answer(), usual)
    assert np.abs(answer(**change) - usual).max() > 1e-5


def test_no_more_clean_rows_are_given_than_the_network_was_trained_for(text):
    policy = make_policy(text, max_delay=2, clean_prefix=True)
    policy.reset(0)
    first = policy.act_on(observe(0.0), Continuation(4, "clean"))
    assert first.committed == 0
    second = policy.act_on(at(observe(0.2), first.rows[1]), Continuation(4, "clean"))
    assert second.committed == 2
    np.testing.assert_allclose(second.rows[:2, :7], first.rows[2:4, :7], atol=1e-6)
    assert np.abs(second.rows[2, :7] - first.rows[4, :7]).max() > 1e-3
    third = policy.act_on(at(observe(0.3), second.rows[0]), Continuation(4, "replace"))
    assert third.committed == 4


def test_clean_rows_of_a_policy_that_does_not_say_how_many_are_half_of_its_rows(text, tmp_path, caplog):
    make_policy(text, max_delay=2, clean_prefix=True).save_pretrained(tmp_path)
    rewrite(tmp_path, lambda c: c.pop("max_delay"))
    policy = load_policy(str(tmp_path))
    assert "max_delay: not given, taken as 4" in caplog.text
    policy.reset(0)
    first = policy.act_on(observe(0.0), Continuation(0, "clean"))
    assert policy.act_on(at(observe(0.1), first.rows[0]), Continuation(6, "clean")).committed == 4


def test_grippers_stop_at_their_stops_and_arms_are_not_bent(policy):
    vectors = torch.full((policy.chunk_length, 128), 9.0)
    vectors[0] = -9.0
    rows = policy.chunk(observe(), vectors).rows
    spec = get_robot("panda")
    assert (rows[0, 7], rows[1, 7]) == (spec.lower[7], spec.upper[7])
    assert (rows[1:, :7] > spec.upper[:7]).any()


def test_of_many_chunks_the_one_that_fits_best_is_taken(policy, monkeypatch):
    policy.reset(0)
    first = policy.act_on(observe(0.0), Continuation(0))
    running = policy._running._chunks[-1].vectors
    drawn = []

    def draw(observation, pictures, samples, prefix=None):
        left = torch.cat([running[2:], running[-1:].expand(2, -1)])
        drawn.append(samples)
        return left + torch.arange(samples).sub(5).abs()[:, None, None]

    monkeypatch.setattr(policy, "draw", draw)
    second = policy.act_on(at(observe(0.2), first.rows[1]), Continuation(3, "select"))
    assert drawn == [16]
    np.testing.assert_allclose(second.rows[:6], first.rows[2:], atol=1e-6)


@pytest.mark.parametrize("case", ["reset", "elsewhere", "long ago", "earlier"])
def test_a_plan_that_the_arm_does_not_follow_is_not_gone_on_with(policy, case):
    policy.reset(0)
    first = policy.act_on(observe(0.0), Continuation(0))
    stamp = {"long ago": 0.8, "earlier": -0.1}.get(case, 0.2)
    joints = first.rows[1] + (0.3 if case == "elsewhere" else 0.0)
    if case == "reset":
        policy.reset(0)
    generator = policy._generator.get_state()
    second = policy.act_on(at(observe(stamp), joints), Continuation(3, "replace"))
    policy._generator.set_state(generator)
    np.testing.assert_array_equal(second.rows, policy.act(at(observe(stamp), joints)).rows)


def test_poses_come_and_go_by_the_unified_space(text):
    policy = make_policy(text, replace(FRANKA_EEF, cameras=("front", "", "")))
    state, _ = policy.settings.embodiment.state_to_unified(policy._state(observe()))
    rows = torch.from_numpy(state).expand(8, -1)
    chunk = policy.chunk(observe(), rows)
    assert (chunk.kind, chunk.rows.shape) == ("cartesian_absolute", (8, 7))
    kinematics = Kinematics(SPEC)
    joints = kinematics.to_joint_chunk(chunk, SPEC.home).rows[-1]
    np.testing.assert_allclose(kinematics.forward(joints), kinematics.forward(SPEC.home), atol=1e-4)


def test_a_compiled_network_draws_the_same_chunks_and_those_that_go_on_take_it_as_it_is(policy, tmp_path, monkeypatch):
    calls = []

    def compile_as_it_is(model, mode):
        def forward(*inputs):
            calls.append(mode)
            return model(*inputs)

        return forward

    monkeypatch.setattr(torch, "compile", compile_as_it_is)
    policy.save_pretrained(tmp_path)
    fast = RDTPolicy.from_pretrained(tmp_path, compile=True)
    for one in (policy, fast):
        one.reset(3)
    first, found = policy.act(observe()), fast.act(observe())
    np.testing.assert_array_equal(found.rows, first.rows)
    assert calls == ["default"] * policy.settings.sampler_steps
    later = at(observe(0.2), first.rows[1])
    np.testing.assert_array_equal(
        fast.act_on(later, Continuation(3, "replace")).rows, policy.act_on(later, Continuation(3, "replace")).rows
    )
    assert len(calls) == policy.settings.sampler_steps


@pytest.mark.parametrize("form", ["safetensors", "hub"])
def test_a_saved_policy_gives_the_same_chunks(policy, tmp_path, form):
    policy.save_pretrained(tmp_path, form)
    loaded = load_policy(str(tmp_path))
    for one in (policy, loaded):
        one.reset(3)
    assert (policy.act(observe()).rows == loaded.act(observe()).rows).all()
    with pytest.raises(ValueError, match=r"expected one of .*'reach the ball'.*found 'dance'"):
        loaded.act(observe(instruction="dance"))
    loaded.act(observe(instruction="Reach the ball."))


def rewrite(tmp_path, change):
    path = tmp_path / "policy.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("robot"), "robot"),
        (lambda c: c.pop("embodiment"), "embodiment"),
        (lambda c: c.update(colour=1), "colour"),
        (lambda c: c.update(robot="r2d2"), "r2d2"),
        (lambda c: c.update(norm_stat="mean"), "norm_stat"),
        (lambda c: c.update(max_delay=2), "max_delay: expected 0, as the network has it, found 2"),
        (lambda c: c.update(max_delay="2"), "max_delay: expected a number of rows, found '2'"),
        (lambda c: c["embodiment"].update(names=["elbow"]), "elbow"),
        (lambda c: c["embodiment"].update(cameras=["", "", ""]), "expected a camera"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_field(policy, tmp_path, change, message):
    policy.save_pretrained(tmp_path)
    rewrite(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        load_policy(str(tmp_path))


def test_a_missing_norm_kind_is_said(policy, tmp_path, caplog):
    policy.save_pretrained(tmp_path)
    rewrite(tmp_path, lambda c: c.pop("norm_stat"))
    load_policy(str(tmp_path))
    assert "norm_stat: not given, taken as 'var'" in caplog.text


def test_a_released_directory_needs_to_be_told_its_robot(policy, tmp_path):
    policy.save_pretrained(tmp_path)
    (tmp_path / "policy.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"policy\.json"):
        load_policy(str(tmp_path))
    settings = RDTSettings("panda", PANDA)
    assert RDTPolicy.from_pretrained(tmp_path, settings=settings).robot == "panda"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"img_token_dim": 32}, "image tower"),
        ({"lang_token_dim": 16}, "text encoder"),
        ({"image_grid": (3, 3, 4)}, "image_grid"),
    ],
)
def test_encoders_of_other_sizes_are_refused(text, change, message):
    with pytest.raises(ValueError, match=message):
        make_policy(text, **change)


def test_an_embodiment_of_another_robot_is_refused(text):
    with pytest.raises(ValueError, match="8 joints of robot 'panda', found 14"):
        make_policy(text, ALOHA_AGILEX)
