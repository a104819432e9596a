from __future__ import annotations

import h5py
import numpy as np
import pytest
from PIL import Image

from policies.rdt.hdf5_episodes import AlohaEpisode, write_episode

HIGH = "observations/images/cam_high"
RED = np.array([200, 30, 10])
STEPS = 12


def numbers(steps=STEPS, moves_from=5):
    qpos = np.zeros((steps, 14), np.float32)
    qpos[moves_from:, 3] = 0.02
    return qpos, qpos + 0.5


def red_pictures(steps=STEPS, size=(16, 24)):
    """Red, with the step's number as the level of green."""
    pictures = np.tile(RED.astype(np.uint8), (steps, *size, 1))
    pictures[..., 1] = 10 * np.arange(steps)[:, None, None]
    return pictures


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "episode_0.hdf5"
    write_episode(path, *numbers(), {"exterior": red_pictures(), "left_wrist": red_pictures(size=(8, 8))})
    return path


def test_numbers_and_pictures_come_back(path):
    episode = AlohaEpisode.read(path)
    qpos, action = numbers()
    np.testing.assert_array_equal(episode.qpos, qpos)
    np.testing.assert_array_equal(episode.action, action)
    assert episode.cameras == ("exterior", "left_wrist")
    pictures = episode.pictures("exterior", [2, 7])
    assert pictures.shape == (2, 16, 24, 3)
    np.testing.assert_allclose(pictures[:, 8, 12], [[200, 20, 10], [200, 70, 10]], atol=4)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_colours_are_right_for_each_colour_order(path, order):
    with h5py.File(path, "a") as file:
        file.attrs["color_order"] = order
    level = AlohaEpisode.read(path).pictures("exterior", [0])[0, 8, 12]
    np.testing.assert_allclose(level, [200, 0, 10] if order == "rgb" else [10, 0, 200], atol=4)


def test_a_file_without_the_attribute_is_as_opencv_wrote_it_unless_the_caller_knows_better(path):
    with h5py.File(path, "a") as file:
        del file.attrs["color_order"]
    assert AlohaEpisode.read(path).color_order == "bgr"
    assert AlohaEpisode.read(path, unmarked="rgb").color_order == "rgb"


def test_opencv_recordings_of_rgb_arrays_come_back_as_rgb(path):
    cv2 = pytest.importorskip("cv2")
    with h5py.File(path, "a") as file:
        del file.attrs["color_order"]
        for step, picture in enumerate(red_pictures()):
            file[HIGH][step] = cv2.imencode(".jpg", picture)[1].ravel()
    level = AlohaEpisode.read(path).pictures("exterior", [3])[0, 8, 12]
    np.testing.assert_allclose(level, [200, 30, 10], atol=4)


@pytest.mark.parametrize("form", ["fixed strings", "padded bytes"])
def test_other_forms_of_byte_strings_are_read(path, form):
    with h5py.File(path, "a") as file:
        stored = [file[HIGH][step].tobytes() for step in range(STEPS)]
        longest = max(map(len, stored)) + 9
        del file[HIGH]
        if form == "fixed strings":
            file[HIGH] = np.array(stored, dtype=f"S{longest}")
        else:
            file[HIGH] = np.stack([np.frombuffer(item.ljust(longest, b"\0"), np.uint8) for item in stored])
    level = AlohaEpisode.read(path).pictures("exterior", [3])[0, 8, 12]
    np.testing.assert_allclose(level, [200, 30, 10], atol=4)


def test_the_first_motion_counts_from_the_first_value(path):
    assert AlohaEpisode.read(path).first_motion() == 5
    write_episode(path, *numbers(moves_from=STEPS), {})
    with pytest.raises(ValueError, match=r"episode_0\.hdf5: qpos: expected motion of more than 0\.01 rad"):
        AlohaEpisode.read(path).first_motion()


def test_a_gripper_may_be_commanded_beyond_ten(path):
    with h5py.File(path, "a") as file:
        file["action"][3, 13] = 13.9
        file["action"][3, 6] = 11.9
    assert AlohaEpisode.read(path).action[3, 13] == np.float32(13.9)


def replace(file, place, value):
    del file[place]
    file[place] = value


def with_virtual(file):
    layout = h5py.VirtualLayout((STEPS, 14), np.float32)
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (STEPS, 14))
    del file["action"]
    file.create_virtual_dataset("action", layout)


def with_external(file):
    del file["action"]
    file.create_dataset("action", (STEPS, 14), np.float32, external=[("/etc/passwd", 0, STEPS * 14 * 4)])


def with_unknown_filter(file):
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk((4, 14))
    creation.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
    del file["action"]
    h5py.h5d.create(file.id, b"action", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((STEPS, 14)), creation)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda f: f.pop("action"), "action: expected a dataset, found none"),
        (lambda f: (f.pop("action"), f.create_group("action")), "action: expected a dataset, found another object"),
        (lambda f: replace(f, "action", np.zeros((5, 14), np.float32)), "action: expected 12 rows as in qpos, found 5"),
        (lambda f: replace(f, "action", np.zeros((STEPS, 7))), r"numbers \(N, 14\), found float64 \(12, 7\)"),
        (lambda f: replace(f, "action", np.zeros((STEPS, 14), int)), "expected floating-point numbers"),
        (lambda f: f["action"].__setitem__((3, 2), np.nan), r"action\[3, 2\]: expected rad, at most 10, found nan"),
        (lambda f: f["action"].__setitem__((3, 2), 90), r"action\[3, 2\]: expected rad, at most 10, found 90"),
        (lambda f: f["action"].__setitem__((3, 6), 90), r"action\[3, 6\]: expected rad, at most 20, found 90"),
        (lambda f: replace(f, "action", h5py.SoftLink("/observations/qpos")), "expected data in the file itself"),
        (lambda f: replace(f, "action", h5py.ExternalLink("/etc/x.hdf5", "/a")), "found a link"),
        (lambda f: replace(f, "observations", h5py.ExternalLink("x.hdf5", "/a")), "observations/qpos: .*found a link"),
        (lambda f: replace(f, HIGH, h5py.SoftLink("cam_left_wrist")), "cam_high: .*found a link"),
        (with_virtual, "found some of other files"),
        (with_external, "found some of other files"),
        (with_unknown_filter, r"expected filters among .*, found \[32015\]"),
        (lambda f: replace(f, HIGH, np.zeros((STEPS, 4, 4, 3), np.uint8)), r"expected pictures as JPEG, .*4, 4, 3\)"),
        (lambda f: replace(f, HIGH, np.zeros((5, 9), np.uint8)), "cam_high: expected 12 pictures, found 5"),
        (lambda f: f.attrs.__setitem__("color_order", "yuv"), "color_order: expected 'rgb' or 'bgr', found 'yuv'"),
        (lambda f: f.attrs.__setitem__("color_order", 3), "color_order: expected 'rgb' or 'bgr', found"),
        (
            lambda f: (f.pop("action"), f.create_dataset("action", (2**40, 14), np.float32, chunks=(1, 14))),
            "action: expected 1 to 100000 rows",
        ),
        (
            lambda f: (f.pop(HIGH), f.create_dataset(HIGH, (STEPS, 2**30), np.uint8, chunks=(1, 16))),
            "cam_high: expected rows of at most 16777216 bytes",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(path, edit, message):
    with h5py.File(path, "a") as file:
        edit(file)
    with pytest.raises(ValueError, match=rf"episode_0\.hdf5: .*{message}"):
        AlohaEpisode.read(path)


@pytest.mark.parametrize("content", [b"", b"no HDF5", None])
def test_a_damaged_or_absent_file_is_named(path, content):
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"episode_0\.hdf5: expected"):
        AlohaEpisode.read(path)


def test_files_damaged_anywhere_end_in_value_errors(path):
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refusals = []
    for _ in range(150):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 40):
            damaged[place] = rng.integers(256)
        path.write_bytes(bytes(damaged[: rng.integers(len(whole) // 2, len(whole) + 1)]))
        try:
            AlohaEpisode.read(path).pictures("exterior", range(STEPS))
        except ValueError as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert all("episode_0.hdf5" in refusal for refusal in refusals)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"cam_high\[2\]: expected a JPEG of 0 bytes"),
        (b"\xff\xd8\xff nothing", r"cam_high\[2\]: expected a JPEG"),
        ("png", r"cam_high\[2\]: expected a JPEG"),
        ("grey", r"cam_high\[2\]: expected RGB of at most 4096 px a side, found L"),
        ("wide", r"cam_high\[2\]: expected RGB of at most 4096 px a side, found RGB \(5000, 1\)"),
        ("other", r"cam_high\[2\]: expected shape \(16, 24, 3\), found \(8, 8, 3\)"),
        ("half", r"cam_high\[2\]: expected a JPEG"),
    ],
)
def test_pictures_that_are_none_are_named(path, tmp_path, content, message):
    if isinstance(content, str):
        mode, size = {"grey": "L"}.get(content, "RGB"), {"wide": (5000, 1), "other": (8, 8)}.get(content, (24, 16))
        image = tmp_path / ("image.png" if content == "png" else "image.jpg")
        Image.new(mode, size).save(image)
        content = image.read_bytes()[: -40 if content == "half" else None]
    with h5py.File(path, "a") as file:
        file[HIGH][2] = np.frombuffer(content, np.uint8)
    with pytest.raises(ValueError, match=message):
        AlohaEpisode.read(path).pictures("exterior", [1, 2])


def test_an_absent_camera_is_named(path):
    with pytest.raises(ValueError, match=r"cameras \['exterior', 'left_wrist'\], found 'right_wrist'"):
        AlohaEpisode.read(path).pictures("right_wrist", [0])


def test_what_cannot_be_written_is_refused(path):
    qpos, action = numbers()
    with pytest.raises(ValueError, match=r"action: expected shape \(12, 14\), found \(11, 14\)"):
        write_episode(path, qpos, action[1:], {})
    with pytest.raises(ValueError, match=r"exterior: expected uint8 \(12, H, W, 3\), found uint8 \(3, 16, 24, 3\)"):
        write_episode(path, qpos, action, {"exterior": red_pictures(3)})
    with pytest.raises(ValueError, match=r"expected roles of .*, found 'top'"):
        write_episode(path, qpos, action, {"top": red_pictures()})


def test_links_are_never_followed(path, tmp_path):
    other = tmp_path / "other.hdf5"
    write_episode(other, *numbers(), {})
    for link in (h5py.ExternalLink(other.name, "/action"), h5py.SoftLink("/nowhere")):
        with h5py.File(path, "a") as file:
            replace(file, "action", link)
        with pytest.raises(ValueError, match=r"action: .*found a link"):
            AlohaEpisode.read(path)


def test_compressed_numbers_are_read_and_a_chunk_that_may_inflate_without_bound_is_refused(path):
    action = numbers()[1]
    with h5py.File(path, "a") as file:
        del file["action"]
        file.create_dataset("action", data=action, compression="gzip", shuffle=True)
    np.testing.assert_array_equal(AlohaEpisode.read(path).action, action)
    with h5py.File(path, "a") as file:
        del file["action"]
        dataset = file.create_dataset("action", (STEPS, 14), np.float32, chunks=(STEPS, 14), compression="gzip")
        dataset.id.write_direct_chunk((0, 0), bytes(2**20 + 1))
    with pytest.raises(ValueError, match="expected filtered chunks of at most 1048576, found 1048577"):
        AlohaEpisode.read(path)
