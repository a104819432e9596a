import numpy as np

from representation.data.frames import SEGMENTATION, open_frames
from sim.appearances import KINDS, draw_texture, main


def test_half_of_the_pictures_have_the_plain_look_and_all_pixels_are_known(tmp_path):
    main(["--output", str(tmp_path), "--count", "12", "--size", "48"])
    frames = open_frames(tmp_path)
    assert frames.images.shape == (24, 48, 48, 3)
    assert frames.columns["changed"].tolist() == [0] * 12 + [1] * 12
    assert frames.names[SEGMENTATION] == KINDS
    shown = frames.columns[SEGMENTATION]
    assert set(np.unique(shown)) == {0, 1, 2, 3}
    assert (np.stack([one > 0 for one in shown]).reshape(24, -1).mean(axis=1) > 0.01).all()
    lower = zip(frames.images[:, 24:], shown[:, 24:], strict=True)
    table = [image[rows == 0].std(axis=0).mean() for image, rows in lower]
    assert max(table[:12]) < np.median(table[12:])  # the plain table has no texture


def test_textures_are_drawn_from_the_generator():
    first, again, other = (draw_texture(np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first.shape == (64, 64, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
