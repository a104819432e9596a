import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from representation.analysis.invariance_transfer import (
    CORRUPTION,
    GEOMETRIC,
    PHOTOMETRIC,
    TRANSFORMS,
    StudyConfig,
    Transforms2D,
    cut_outs_of,
    invariance_matrix,
    linear_probe,
    materialised,
    measure_invariance,
    noise_objects,
    procedural_backgrounds,
    procedural_objects,
    read_pictures,
    study,
    transfer_study,
)
from representation.analysis.invariance_transfer.measures import feature_invariance
from representation.analysis.invariance_transfer.networks import NETWORKS, new_classifier
from representation.analysis.invariance_transfer.objects import write_pictures
from representation.analysis.invariance_transfer.transforms import bounding_box
from representation.data.frames import Frames

OBJECTS, BACKGROUNDS = procedural_objects(6, 32, 0), procedural_backgrounds(4, 32, 0)


def card():
    """A test card: a disc with a gradient of colours on a transparent canvas."""
    y, x = np.mgrid[:32, :32]
    image = np.stack([8 * x, 8 * y, 255 - 8 * x, 255 * ((y - 15.5) ** 2 + (x - 15.5) ** 2 < 100)], axis=2)
    return image.astype(np.uint8)


def changed(name, image, limit=40):
    """A draw of a transform that did something, of several."""
    for seed in range(limit):
        found = TRANSFORMS[name](image, np.random.default_rng(seed))
        if not np.array_equal(found, image):
            return found
    raise AssertionError(f"{name} did nothing in {limit} draws")


def test_there_are_eighteen_transforms_in_three_categories_and_all_keep_the_form():
    assert [*GEOMETRIC, *PHOTOMETRIC, *CORRUPTION] == list(TRANSFORMS)
    assert len(TRANSFORMS) == 18
    for name in TRANSFORMS:
        found = changed(name, card())
        assert found.shape == (32, 32, 4), name
        assert found.dtype == np.uint8, name


def test_flips_are_involutions():
    for name in ("h_flip", "v_flip"):
        once = changed(name, OBJECTS[0])
        np.testing.assert_array_equal(changed(name, once), OBJECTS[0])


def test_a_rotation_keeps_the_area_of_the_mask():
    for seed in range(8):
        found = TRANSFORMS["rotate"](card(), np.random.default_rng(seed))
        assert float(found[..., 3].sum()) == pytest.approx(float(card()[..., 3].sum()), rel=0.05)


def test_an_erased_square_has_fourteen_pixels_a_side():
    opaque = card()
    opaque[..., 3] = 255
    assert int((changed("erase", opaque)[..., 3] == 0).sum()) == 14 * 14


def test_pixelated_and_posterized_pictures_have_few_colours():
    opaque = np.random.default_rng(0).integers(0, 256, (32, 32, 4), dtype=np.uint8)
    opaque[..., 3] = 255
    assert len(np.unique(changed("pixelate", opaque)[..., :3].reshape(-1, 3), axis=0)) <= 10**2
    assert set(np.unique(changed("posterize", opaque)[..., :3])) == {0, 128}


@pytest.mark.parametrize("name", PHOTOMETRIC)
def test_photometric_transforms_never_change_the_mask(name):
    for seed in range(6):
        found = TRANSFORMS[name](card(), np.random.default_rng(seed))
        np.testing.assert_array_equal(found[..., 3], card()[..., 3])


def test_a_translated_object_is_never_cut():
    item = np.zeros((32, 32, 4), np.uint8)
    item[10:17, 12:24] = OBJECTS[0][:7, :12]
    item[10:17, 12:24, 3] = 255
    places = set()
    for seed in range(60):
        found = TRANSFORMS["translate"](item, np.random.default_rng(seed))
        left, top, right, bottom = bounding_box(found)
        np.testing.assert_array_equal(found[top:bottom, left:right], item[10:17, 12:24])
        places.add((left, top))
    assert len(places) > 40
    assert 0 <= min(place[0] for place in places) < 3
    assert max(place[0] for place in places) > 17


def test_a_hue_jitter_keeps_grey_and_changes_colours():
    grey = np.full((8, 8, 4), 120, np.uint8)
    for seed in range(4):
        np.testing.assert_array_equal(TRANSFORMS["hue"](grey, np.random.default_rng(seed)), grey)
    assert np.abs(changed("hue", OBJECTS[0]).astype(int) - OBJECTS[0]).max() > 50


def test_a_picture_depends_on_its_seeds_and_number_and_not_on_who_asks_when():
    dataset = Transforms2D(OBJECTS, BACKGROUNDS, list(TRANSFORMS), 12, sampling_seed=3, transform_seed=4)
    images, labels = materialised(dataset)
    again = Transforms2D(OBJECTS, BACKGROUNDS, list(TRANSFORMS)[::-1], 12, sampling_seed=3, transform_seed=4)
    backward = torch.stack([again[index][0] for index in reversed(range(12))]).flip(0)
    assert torch.equal(backward, images)
    (workers,) = DataLoader(dataset, batch_size=12, num_workers=2)
    assert torch.equal(workers[0], images)
    assert torch.equal(workers[1], labels)
    assert images.shape == (12, 3, 32, 32)
    assert float(images.min()) >= -1
    assert float(images.max()) <= 1


def test_other_transform_seeds_change_the_objects_only():
    names = ["scale", "rotate", "translate", "hue", "elastic"]
    a, b = (Transforms2D(OBJECTS, BACKGROUNDS, names, 20, transform_seed=seed) for seed in (1, 2))
    differ = 0
    for index in range(20):
        assert a.target(index) == b.target(index)
        mask = (a.foreground(index)[..., 3] > 0) | (b.foreground(index)[..., 3] > 0)
        np.testing.assert_array_equal(a.image(index)[~mask], b.image(index)[~mask])
        differ += not np.array_equal(a.image(index), b.image(index))
    assert differ == 20


def test_objects_follow_their_backgrounds_and_are_missing_as_often_as_asked():
    shown = {"label": "background", "n": 400, "transforms": [], "image_size": 16}
    linked = Transforms2D(OBJECTS[:4], BACKGROUNDS, fg_bg_correlation=0.6, **shown)
    parts = [linked.parts(index) for index in range(400)]
    assert np.mean([item == scene for item, scene in parts]) == pytest.approx(0.6 + 0.4 / 4, abs=0.06)
    rare = Transforms2D(OBJECTS, BACKGROUNDS, fg_availability=0.3, **shown)
    assert np.mean([rare.parts(index)[0] is not None for index in range(400)]) == pytest.approx(0.3, abs=0.06)
    assert np.bincount([scene for _, scene in parts], minlength=4).min() > 70
    corner = Transforms2D(OBJECTS, [], [], 5, corner=True)
    for index in range(5):
        left, top, _, bottom = bounding_box(corner.foreground(index))
        assert left >= 15
        assert top == 2
        assert bottom <= 2 + round(0.7 * 0.55 * 32)


class Lookup:
    """Gives rows of a table in the order in which pictures come."""

    def __init__(self, rows):
        self.rows, self.place = rows, 0

    def __call__(self, images):
        found = self.rows[self.place : self.place + len(images)]
        self.place += len(images)
        return found


def test_invariance_is_0_for_what_does_not_change_and_1_for_what_is_random():
    a, b = (Transforms2D(OBJECTS, BACKGROUNDS, [], 200, image_size=16, transform_seed=seed) for seed in (1, 2))
    assert measure_invariance(lambda images: images, a, b) == 0
    noise = torch.randn(400, 64, generator=torch.Generator().manual_seed(0))
    for metric in ("l2", "cosine", "cka"):
        assert measure_invariance(Lookup(noise), a, b, metric) == pytest.approx(1, abs=0.05)
    with pytest.warns(UserWarning, match="expected features that differ"):
        assert np.isnan(measure_invariance(lambda images: torch.ones(len(images), 3), a, b))


def test_an_encoder_of_the_class_alone_is_invariant_to_every_transform():
    directions = torch.randn(len(OBJECTS), 8, generator=torch.Generator().manual_seed(1))
    for name in TRANSFORMS:
        a, b = (Transforms2D(OBJECTS, BACKGROUNDS, [name], 24, 16, transform_seed=seed) for seed in (1, 2))
        labels = torch.tensor([a.target(index) for index in range(24)])
        assert measure_invariance(Lookup(directions[labels].repeat(2, 1)), a, b) == 0


def test_invariances_of_several_encoders_stand_in_one_table():
    encoders = {
        "pixels": lambda images: images,
        "channel means": lambda images: images.mean(dim=(2, 3)),
        "red": lambda images: images[:, 0],
    }
    table = invariance_matrix(encoders, ("translate", "hue"), OBJECTS, [], n=64, image_size=16)
    assert table.shape == (3, 2)
    assert table.loc["channel means", "translate"] < 0.05 < table.loc["pixels", "translate"]
    assert table.loc["channel means", "hue"] > 0.3
    dots = feature_invariance(torch.ones(6, 2), torch.ones(6, 2), "dot")
    assert dots == 1


def test_a_probe_reads_what_is_there_with_either_solver():
    train, test = (Transforms2D(OBJECTS, [], ["h_flip"], n, 16, seed) for n, seed in ((200, 0), (60, 1)))
    for solver in ("lbfgs", "adam"):
        assert linear_probe(lambda images: images, train, test, 30, solver) > 0.9
    assert linear_probe(lambda images: images[:, :1, :1, :1], train, test) < 0.5
    with pytest.raises(ValueError, match="at least two classes"):
        linear_probe(lambda images: images, Transforms2D(OBJECTS[:1], [], [], 9), test)


def test_cut_outs_come_from_folders_and_from_labelled_frames(tmp_path):
    write_pictures(tmp_path, OBJECTS[:2], ["b", "a"])
    found, names = read_pictures(tmp_path, cut_out=True)
    assert names == ("a", "b")
    np.testing.assert_array_equal(found[1], OBJECTS[0])
    images = np.full((3, 40, 40, 3), 90, np.uint8)
    shown = np.zeros((3, 40, 40), np.uint8)
    for row, (kind, side) in enumerate(((1, 10), (1, 14), (2, 12))):
        images[row, 5 : 5 + side, 8 : 8 + side] = (200, 30 * row, 10)
        shown[row, 5 : 5 + side, 8 : 8 + side] = kind
    frames = Frames(images, np.arange(3), {"segmentation": shown}, {"segmentation": ("other", "cube", "ball")})
    cut, labels, kinds, behind = cut_outs_of(frames)
    assert (labels, kinds) == ([0, 1], ("cube", "ball"))
    assert [int((one[..., 3] > 0).sum()) for one in cut] == [14**2, 12**2]
    np.testing.assert_array_equal(np.unique(cut[0][cut[0][..., 3] > 0][:, 0]), [200])
    assert all(np.abs(one.astype(int) - 90).max() < 3 for one in behind)
    with pytest.raises(ValueError, match="kinds: expected some of other, cube, ball"):
        cut_outs_of(frames, kinds=("cup",))
    cv2.imwrite(str(tmp_path / "flat.png"), images[0])
    with pytest.raises(ValueError, match=r"flat\.png: expected transparent pixels"):
        read_pictures(tmp_path, cut_out=True)
    with pytest.raises(FileNotFoundError, match="expected pictures"):
        read_pictures(tmp_path / "none", cut_out=False)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_takes_pictures_and_tells_classes(name):
    model = new_classifier(name, 5, seed=0)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert model.eval()(images).shape == (2, 5)
        assert model.features(images).shape == (2, model.head.in_features)
        assert torch.equal(new_classifier(name, 5, seed=0).eval()(images), model(images))


SMALL = {
    "architecture": "conv4",
    "classes": 2,
    "image_size": 16,
    "samples": 48,
    "target_samples": 40,
    "test_samples": 20,
    "epochs": 1,
    "fine_tuning_epochs": 1,
    "probe": "lbfgs",
    "batch": 16,
    "seeds": 1,
}


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"experiment": "transforms"}, 8),
        ({"experiment": "transforms", "axis": "fine_tuning_samples", "values": (8, 16)}, 4),
        ({"experiment": "irrelevant"}, 3 * (3 + 2)),
        ({"experiment": "invariance", "transforms": ("hue", "rotate")}, 2 * 2 * 3),
        ({"experiment": "mismatch", "transforms": ("hue", "rotate")}, 4),
    ],
)
def test_every_experiment_fills_its_table(options, rows, monkeypatch):
    monkeypatch.setattr(study, "CORRELATIONS", (0.0, 1.0))
    monkeypatch.setattr(study, "AVAILABILITIES", (0.5,))
    table = transfer_study(StudyConfig(**{**SMALL, **options})).table
    assert len(table) == rows
    values = table["invariance" if options["experiment"] == "invariance" else "accuracy"]
    assert values.between(0, 2).all()


def test_what_was_seen_to_turn_is_told_when_it_is_turned():
    objects = procedural_objects(8, 16, 1)
    options = {**SMALL, "experiment": "mismatch", "classes": 4, "transforms": ("rotate",), "samples": 240, "epochs": 4}
    options |= {"target_samples": 160, "test_samples": 80}
    (turned,) = transfer_study(StudyConfig(**options), objects, BACKGROUNDS).table["accuracy"]
    assert turned > 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Transforms2D(OBJECTS, [], ["spin"], 4), "transforms: expected different ones of scale"),
        (lambda: Transforms2D(OBJECTS, [], ["hue", "hue"], 4), "transforms: expected different ones"),
        (lambda: Transforms2D(BACKGROUNDS, [], [], 4), r"foregrounds: expected \(h, w, 4\)"),
        (lambda: Transforms2D(OBJECTS, [], [], 4, label="background"), "background where there are some"),
        (lambda: Transforms2D(OBJECTS, BACKGROUNDS, [], 4, fg_availability=0.5), "expected 1 where objects"),
        (lambda: Transforms2D(OBJECTS, BACKGROUNDS, [], 4, fg_bg_correlation=2), "shares: expected in"),
        (lambda: Transforms2D(OBJECTS, [], [], 4, foreground_labels=[0]), "foreground_labels: expected 6"),
        (lambda: feature_invariance(torch.ones(5, 2), torch.ones(4, 2)), "features: expected"),
        (lambda: StudyConfig("colour"), "experiment: expected one of transforms"),
        (lambda: new_classifier("lenet", 3, 0), "architecture: expected one of conv4"),
        (lambda: transfer_study(StudyConfig("mismatch"), noise_objects(3, 16, 0)), "expected at least 60, found 3"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
