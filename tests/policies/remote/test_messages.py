from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from PIL import Image

from policies.interface import ActionChunk, Continuation, JointReadings
from policies.remote import messages
from policies.remote.frames import Frame, decode, encode
from policies.remote.messages import Description
from tests.policies.remote.samples import SIZE, equal, observation, same

DESCRIPTION = Description("a policy", "ab" * 32, "panda", ("front",), 12.5, 4, ("go",), True, True)


def through(frame: Frame) -> Frame:
    return decode(encode(frame))


@pytest.mark.parametrize("compression", ["raw", "png"])
@pytest.mark.parametrize("cameras", [(), ("front",), ("front", "wrist", "a/b")])
def test_every_bit_of_an_observation_comes_back(compression, cameras):
    sent = observation(cameras=cameras)
    frame = through(messages.request_frame(3, [sent], compression))
    (found,), continuation = messages.read_request(frame)
    assert (frame.kind, frame.request, continuation) == ("act", 3, None)
    assert same(sent, found)


def test_readings_since_the_observation_before_come_back():
    stamps = np.array([-0.2, -0.1])
    sent = replace(observation(), readings=JointReadings(stamps, np.random.default_rng(0).normal(size=(2, 8))))
    (found,), _ = messages.read_request(through(messages.request_frame(1, [sent])))
    assert equal(found.readings.stamps, stamps)
    assert equal(found.readings.positions, sent.readings.positions)
    (plain,), _ = messages.read_request(through(messages.request_frame(1, [observation()])))
    assert plain.readings is None


@pytest.mark.parametrize("compression", ["raw", "png"])
@pytest.mark.parametrize("cameras", [("wrist",), ("wrist", "front")])
def test_the_pictures_of_one_step_before_come_back_to_the_bit(compression, cameras):
    before = observation(seed=1)
    sent = replace(observation(), earlier={name: before.cameras[name].rgb for name in cameras})
    (found, plain), _ = messages.read_request(
        through(messages.request_frame(1, [sent, observation()], compression, batch=True))
    )
    assert same(sent, found)
    assert same(plain, observation())
    assert plain.earlier == {}


def test_jpeg_changes_colours_a_little_and_nothing_else():
    sent = observation(size=(64, 64))
    grey = {name: replace(view, rgb=np.full((64, 64, 3), 90, np.uint8)) for name, view in sent.cameras.items()}
    sent = replace(sent, cameras=grey)
    (found,), _ = messages.read_request(through(messages.request_frame(1, [sent], "jpeg")))
    for name, view in sent.cameras.items():
        assert np.abs(found.cameras[name].rgb.astype(int) - view.rgb).max() <= 3
        assert equal(found.cameras[name].depth, view.depth)


def test_batches_and_continuations_come_back():
    sent = [observation(seed) for seed in range(3)]
    found, _ = messages.read_request(through(messages.request_frame(1, sent, batch=True)))
    assert all(same(one, other) for one, other in zip(sent, found, strict=True))
    assert messages.read_request(through(messages.request_frame(1, [], batch=True))) == ([], None)
    goes_on = Continuation(3, "select", 2.5, "linear", "identity", discarded=True)
    assert messages.read_request(through(messages.request_frame(1, sent[:1], continuation=goes_on)))[1] == goes_on


@pytest.mark.parametrize("confidence", [None, np.array([0.5, 1.0])])
@pytest.mark.parametrize("log_probs", [None, -np.arange(6.0).reshape(2, 3)])
def test_every_bit_of_a_chunk_comes_back(confidence, log_probs):
    rows = np.array([[0.1, np.nan, -0.0], [np.inf, 2.0, 3.0]])
    sent = ActionChunk(0.7, 1 / 3, "joint", rows, confidence, committed=1, token_log_probs=log_probs)
    (found,) = messages.read_chunks(through(messages.chunks_frame(5, [sent])))
    assert (found.stamp, found.dt, found.kind, found.committed) == (sent.stamp, sent.dt, sent.kind, 1)
    assert equal(found.rows, rows)
    assert found.confidence is None if confidence is None else equal(found.confidence, confidence)
    assert found.token_log_probs is None if log_probs is None else equal(found.token_log_probs, log_probs)


def test_welcome_reset_and_errors_come_back():
    max_step = np.arange(6.0)
    found, steps = messages.read_welcome(through(messages.welcome_frame(DESCRIPTION, max_step)))
    assert found == DESCRIPTION
    assert equal(steps, max_step)
    assert messages.read_welcome(through(messages.welcome_frame(DESCRIPTION, None)))[1] is None
    assert [messages.read_reset(through(messages.reset_frame(1, seed))) for seed in (None, 0, 5)] == [None, 0, 5]
    assert messages.read_error(through(messages.error_frame(1, "busy", "x" * 9999))) == (
        "busy",
        "x" * messages.MAX_TEXT,
    )


def changed(frame: Frame, path: str, value: object) -> Frame:
    """A frame with one of its fields, found by a dotted path, replaced."""
    fields = msgpack.unpackb(msgpack.packb(dict(frame.fields)))
    *parents, last = path.split(".")
    inner = fields
    for parent in parents:
        inner = inner[int(parent) if isinstance(inner, list) else parent]
    inner[last] = value
    return replace(frame, fields=fields)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("observation.stamp", float("inf"), "stamp: expected a finite number"),
        ("observation.stamp", 1, "stamp: expected float, found int"),
        ("observation.instruction", "x" * 5000, "instruction: expected at most 4096"),
        ("observation.cameras", ["front", "front"], "expected different names"),
        ("observation.cameras", ["front"], "readings: stamps: expected <f8"),
        ("observation.cameras", ["front", "wrist", "top"], "top/depth: expected <f4"),
        ("observation.cameras", [str(i) for i in range(17)], "cameras: expected at most 16"),
        ("observation.cameras", "front", "cameras: expected list, found str"),
        ("observation.earlier", ["top"], r"earlier: expected different ones of \['front', 'wrist'\], found \['top'\]"),
        ("observation.earlier", ["front", "front"], "earlier: expected different ones"),
        ("observation.earlier", ["front"], "front/earlier: expected an array, found none"),
        ("observation.compression", "webp", "compression: expected one of"),
        ("observation.compression", "png", r"front/rgb: expected \|u1 \(None,\)"),
        ("observation.more", 1, "found also"),
        ("more", 1, "found also"),
        ("observation", [], "observation: expected dict, found list"),
    ],
)
def test_an_observation_that_is_not_as_the_schema_says_is_refused_by_name(path, value, words):
    frame = changed(messages.request_frame(1, [observation()]), path, value)
    with pytest.raises(ValueError, match=words):
        messages.read_request(through(frame))


@pytest.mark.parametrize(
    ("place", "array", "words"),
    [
        (0, np.zeros(300), "joint_positions: expected at most"),
        (1, np.zeros(3), "joint_velocities: expected <f8"),
        (1, np.full(8, np.nan), "joint_velocities: expected finite"),
        (2, np.zeros((3, 3), np.float32), r"front/rgb: expected \|u1 \(3, 3, 3\)"),
        (2, np.zeros(SIZE), "front/depth: expected <f4"),
        (4, np.zeros((3, 3)), "positive focal lengths"),
        (5, np.zeros((3, 4)), "front/base_from_camera: expected <f8"),
        (10, np.zeros(1), r"readings: positions: expected <f8 \(1, 8\)"),
    ],
)
def test_an_array_that_does_not_fit_is_refused_by_name(place, array, words):
    frame = messages.request_frame(1, [observation()])
    arrays = list(frame.arrays)
    arrays[place] = array
    with pytest.raises(ValueError, match=words):
        messages.read_request(through(replace(frame, arrays=arrays)))


def test_a_picture_of_before_must_have_the_size_of_the_one_of_now():
    frame = messages.request_frame(1, [replace(observation(), earlier={"front": observation().cameras["front"].rgb})])
    arrays = [*frame.arrays[:-1], np.zeros((13, 16, 3), np.uint8)]
    with pytest.raises(ValueError, match=r"front/earlier: expected \|u1 \(12, 16, 3\)"):
        messages.read_request(through(replace(frame, arrays=arrays)))


def image_file(size: tuple[int, int], mode: str, form: str) -> np.ndarray:
    file = io.BytesIO()
    Image.new(mode, size[::-1]).save(file, form)
    return np.frombuffer(file.getvalue(), np.uint8)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (image_file((9000, 9000), "RGB", "png"), r"found \(9000, 9000\) in RGB"),
        (image_file((20000, 20000), "1", "png"), "expected a png image"),
        (image_file(SIZE, "L", "png"), "in L"),
        (image_file(SIZE, "RGB", "jpeg"), "expected a png image"),
        (image_file(SIZE, "RGB", "png")[:45], "expected a png image"),
        (np.zeros(0, np.uint8), "expected a png image"),
    ],
)
def test_an_image_of_another_size_or_form_is_refused_before_it_is_decoded(file, words):
    frame = messages.request_frame(1, [observation()], "png")
    arrays = list(frame.arrays)
    arrays[3] = file
    with pytest.raises(ValueError, match=words):
        messages.read_request(through(replace(frame, arrays=arrays)))


def test_damaged_image_files_are_decoded_or_refused():
    rng = np.random.default_rng(0)
    for compression in ("png", "jpeg"):
        frame = messages.request_frame(1, [observation(cameras=("front",))], compression)
        for _ in range(300):
            arrays = [array.copy() for array in frame.arrays]
            arrays[3][rng.integers(len(arrays[3]), size=3)] = rng.integers(0, 256, 3)
            with suppress(ValueError):
                messages.read_request(replace(frame, arrays=arrays))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("chunks.0.kind", "torque", "kind: expected one of"),
        ("chunks.0.dt", 0.0, "dt: expected > 0"),
        ("chunks.0.dt", float("nan"), "dt: expected a finite number"),
        ("chunks.0.confident", True, "confidence: expected an array"),
        ("chunks.0.confident", 1, "confident: expected bool"),
        ("chunks.0.committed", 5, "committed: expected 0 to 4, found 5"),
        ("chunks.0.tokens", True, "token_log_probs: expected an array"),
        ("chunks.0.tokens", None, "tokens: expected bool"),
    ],
)
def test_a_chunk_that_is_not_as_the_schema_says_is_refused_by_name(path, value, words):
    frame = messages.chunks_frame(1, [ActionChunk(0.0, 0.1, "joint", np.zeros((4, 8)))])
    with pytest.raises(ValueError, match=words):
        messages.read_chunks(through(changed(frame, path, value)))


@pytest.mark.parametrize("rows", [np.zeros((0, 8)), np.zeros((5000, 8)), np.zeros((4, 300)), np.zeros(4)])
def test_rows_of_an_impossible_shape_are_refused(rows):
    fields = {
        "chunks": [{"stamp": 0.0, "dt": 0.1, "kind": "joint", "committed": 0, "confident": False, "tokens": False}]
    }
    with pytest.raises(ValueError, match="rows: expected"):
        messages.read_chunks(through(Frame("chunks", 1, fields, [rows])))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("control_hz", 0.0, "control_hz: expected above 0"),
        ("control_hz", 1e9, "control_hz: expected above 0"),
        ("chunk_length", 0, "chunk_length: expected 1"),
        ("robot", None, "robot: expected str"),
        ("cameras", [1], "cameras: expected str, found int"),
        ("continues", "yes", "continues: expected bool"),
        ("looks_back", 1, "looks_back: expected bool"),
    ],
)
def test_a_welcome_that_is_not_as_the_schema_says_is_refused_by_name(path, value, words):
    with pytest.raises(ValueError, match=words):
        messages.read_welcome(through(changed(messages.welcome_frame(DESCRIPTION, None), path, value)))


@pytest.mark.parametrize("seed", [-1, 2**64 - 1, "1", 1.0, True])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(ValueError, match="seed: expected"):
        messages.read_reset(through(Frame("reset", 1, {"seed": seed})))
    with pytest.raises(ValueError, match="seed: expected"):
        messages.read_reset(through(Frame("reset", 1)))
