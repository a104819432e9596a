import json

import cv2
import numpy as np
import pytest

from representation.data.frames import SEGMENTATION, Frames
from representation.selection.benchx import Cases, cases_of_frames, read_radiographs
from representation.selection.benchx.cases import SHOWN


def scenes(count=6, views=2):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count * views, 8, 8, 3)).astype(np.uint8)
    labels = np.repeat(np.arange(count)[:, None] % (2, 3) == 0, views, axis=0).astype(np.uint8)
    masks = rng.integers(0, 3, (count * views, 8, 8)).astype(np.uint8)
    names = {SHOWN: ("red", "cube"), SEGMENTATION: ("rest", "object", "gripper")}
    texts = [f"scene {number} ." for number in np.repeat(np.arange(count), views)]
    return Frames(images, np.repeat(np.arange(count), views), {SHOWN: labels, SEGMENTATION: masks}, names, texts)


def test_the_frames_of_a_scene_are_views_of_one_case():
    frames = scenes()
    for kind, shape in (("classification", (6, 1)), ("segmentation", (6, 2)), ("report", (6, 2))):
        cases = cases_of_frames(frames, kind)
        assert cases.kind == kind
        assert cases.images.shape[:2] == shape
        assert np.array_equal(cases.images[2, 0], frames.images[4])
    assert cases_of_frames(frames, "classification").labels[1].tolist() == [0, 0]
    assert np.array_equal(cases_of_frames(frames, "segmentation").masks[5, 1], frames.columns[SEGMENTATION][11])
    assert cases.reports[3] == "scene 3 ."


def test_frames_without_what_is_asked_are_told():
    frames = scenes()
    with pytest.raises(ValueError, match=r"frames: expected \['color'\]"):
        cases_of_frames(frames, "classification", "color")
    with pytest.raises(ValueError, match=r"frames: expected equally many of each scene, found 1 to 2"):
        cases_of_frames(frames.subset(np.arange(11)), "report")
    bare = Frames(frames.images, frames.episode)
    for kind in ("classification", "segmentation", "report"):
        with pytest.raises(ValueError, match="frames: expected"):
            cases_of_frames(bare, kind)


def test_cases_have_one_target_of_the_right_shape():
    images = np.zeros((4, 1, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="expected one of labels, masks and reports"):
        Cases(images)
    with pytest.raises(ValueError, match="targets: expected 4, found 3"):
        Cases(images, reports=["a"] * 3)
    with pytest.raises(ValueError, match="labels: expected several of at least two classes, found 1 to 1"):
        Cases(images, labels=np.ones(4, int), names=("a", "b"))
    with pytest.raises(ValueError, match=r"masks: expected \(4, 1, 8, 8\)"):
        Cases(images, masks=np.zeros((4, 1, 4, 4), np.uint8), names=("a", "b"))
    with pytest.raises(ValueError, match="found case 2 in two"):
        Cases(images, reports=["a"] * 4, given={"train": np.array([0, 2]), "val": np.array([1]), "test": np.array([2])})


@pytest.fixture
def radiographs(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "images" / "case").mkdir(parents=True)
    (tmp_path / "masks").mkdir()
    for number in range(6):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), rng.integers(0, 256, (20, 30)).astype(np.uint8))
        cv2.imwrite(str(tmp_path / "images" / "case" / f"{number}.png"), np.full((20, 30), 40 * number, np.uint8))
    rows = ["image,Pneumonia,Edema", *(f"{number}.png,{number % 2},{number // 3}" for number in range(6))]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    for number in range(4):
        mask = np.zeros((20, 30), np.uint8)
        mask[:10] = 255
        cv2.imwrite(str(tmp_path / "masks" / f"{number}.png"), mask)
    entries = [
        {"id": str(n), "report": f"Finding {n}. Normal.", "image_path": [f"{n}.png", f"case/{n}.png"]} for n in range(6)
    ]
    content = {"train": entries[:4], "val": entries[4:5], "test": entries[5:]}
    (tmp_path / "annotation.json").write_text(json.dumps(content))
    return tmp_path


def test_a_folder_of_radiographs_is_read(radiographs):
    labelled = read_radiographs(radiographs, "classification", 16)
    assert labelled.images.shape == (6, 1, 16, 16, 3)
    assert labelled.names == ("Pneumonia", "Edema")
    assert labelled.labels.tolist() == [[0, 0], [1, 0], [0, 0], [1, 1], [0, 1], [1, 1]]
    assert labelled.grey
    assert labelled.mirrored
    masked = read_radiographs(radiographs, "segmentation", 16)
    assert masked.masks.shape == (4, 1, 16, 16)
    assert masked.masks[0, 0, :, 0].tolist() == [1] * 8 + [0] * 8
    reported = read_radiographs(radiographs, "report", 16)
    assert reported.images.shape == (6, 2, 16, 16, 3)
    assert (reported.images[3, 1] == 120).all()
    assert {name: rows.tolist() for name, rows in reported.given.items()} == {
        "train": [0, 1, 2, 3],
        "val": [4],
        "test": [5],
    }


def test_one_label_makes_two_classes(radiographs):
    (radiographs / "labels.csv").write_text("image,Pneumonia\n0.png,1\n1.png,0\n")
    cases = read_radiographs(radiographs, "classification", 16)
    assert cases.labels.tolist() == [1, 0]
    assert cases.names == ("no Pneumonia", "Pneumonia")


def test_damaged_folders_are_told(radiographs):
    (radiographs / "labels.csv").write_text("image,Edema\n0.png,2\n")
    with pytest.raises(ValueError, match=r"expected rows of a picture and 1 of 0 and 1, found \[\['0.png', '2'\]\]"):
        read_radiographs(radiographs, "classification")
    (radiographs / "labels.csv").write_text("image,Edema\n../secret.png,1\n")
    with pytest.raises(ValueError, match="expected a relative path inside the dataset"):
        read_radiographs(radiographs, "classification")
    (radiographs / "annotation.json").write_text('{"train": [{"report": 3}]}')
    with pytest.raises(ValueError, match="expected image_path and report"):
        read_radiographs(radiographs, "report")
    (radiographs / "masks" / "0.png").write_text("nothing")
    with pytest.raises(ValueError, match=r"0.png: expected a picture"):
        read_radiographs(radiographs, "segmentation")
