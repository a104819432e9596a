from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from policies.rdt.images import (
    IMAGE_SLOTS,
    background_image,
    content_of,
    ordered_pictures,
    pad_to_square,
    prepare_picture,
    prepare_pictures,
)


def picture(level, height=4, width=6):
    return np.full((height, width, 3), level, np.uint8)


def test_pictures_are_sorted_by_time_then_by_role_whatever_the_order_given():
    frames = {
        "left_wrist": (picture(2), picture(5)),
        "exterior": (picture(0), picture(3)),
        "right_wrist": (picture(1), picture(4)),
    }
    assert [int(found[0, 0, 0]) for found in ordered_pictures(frames)] == [0, 1, 2, 3, 4, 5]


def test_a_missing_camera_and_a_missing_frame_stay_missing():
    found = ordered_pictures({"exterior": (None, picture(3)), "left_wrist": (picture(2), picture(5))})
    assert [None if item is None else int(item[0, 0, 0]) for item in found] == [None, None, 2, 3, None, 5]


@pytest.mark.parametrize(
    ("frames", "message"),
    [({"top": (None, None)}, r"found \['top'\]"), ({"exterior": (None,)}, "expected 2 pictures.*found 1")],
)
def test_unknown_roles_and_other_numbers_of_frames_are_refused(frames, message):
    with pytest.raises(ValueError, match=message):
        ordered_pictures(frames)


@pytest.mark.parametrize(("shape", "top", "left"), [((3, 6), 1, 0), ((7, 2), 0, 2), ((5, 5), 0, 0)])
def test_padding_centres_with_the_offset_rounded_down(shape, top, left):
    inside = np.random.default_rng(0).integers(0, 100, (*shape, 3), dtype=np.uint8)
    square = pad_to_square(inside)
    side = max(shape)
    assert square.shape == (side, side, 3)
    np.testing.assert_array_equal(square[top : top + shape[0], left : left + shape[1]], inside)
    assert (square == 127).sum() == 3 * (side * side - shape[0] * shape[1])


@pytest.mark.parametrize(("shape", "top", "left"), [((3, 6), 1, 0), ((7, 2), 0, 2), ((5, 5), 0, 0)])
def test_the_content_of_a_square_is_what_was_padded(shape, top, left):
    inside = np.full((*shape, 3), 127, np.uint8)
    inside[[0, -1], :, 0] = inside[:, [0, -1], 2] = 5
    assert content_of(pad_to_square(inside)) == (slice(top, top + shape[0]), slice(left, left + shape[1]))
    assert content_of(picture(127, 4, 4)) == (slice(0, 4), slice(0, 4))


@pytest.mark.parametrize("wrong", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_picture_is_refused(wrong):
    with pytest.raises(ValueError, match=r"expected uint8 of shape \(H, W, 3\)"):
        pad_to_square(wrong)


def test_pixels_are_those_of_pil_bicubic_between_minus_one_and_one():
    source = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    pixels = prepare_picture(source, 14)
    levels = np.asarray(Image.fromarray(pad_to_square(source)).resize((14, 14), Image.Resampling.BICUBIC))
    assert pixels.dtype == torch.float32
    np.testing.assert_allclose(pixels.numpy(), levels.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)


def test_a_missing_picture_is_the_constant_one():
    pixels, present = prepare_pictures([None, picture(255, 4, 4), picture(127)], 14)
    assert present.tolist() == [False, True, True]
    torch.testing.assert_close(pixels[0], torch.full((3, 14, 14), 127 / 127.5 - 1))
    torch.testing.assert_close(pixels[1], torch.ones(3, 14, 14))
    assert torch.equal(pixels[2], background_image(14))
    assert IMAGE_SLOTS == 6
