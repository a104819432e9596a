"""`Cases`: pictures with one kind of target, out of our frames or out of a folder of radiographs."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from representation.data.frames import LABEL, SEGMENTATION, Frames
from representation.data.untrusted_files import read_json, resolve_inside
from representation.selection.benchx.splits import TEST, TRAIN, VALIDATION, check_disjoint

Kind = Literal["classification", "segmentation", "report"]
KINDS: tuple[Kind, ...] = ("classification", "segmentation", "report")
LABELS_FILE, ANNOTATION_FILE, IMAGES, MASKS = "labels.csv", "annotation.json", "images", "masks"
SHOWN = "shown"
"""Column (N, C) of 0 and 1 that tells what of C things a scene has."""


@dataclass(frozen=True)
class Cases:
    """N cases of V views each, with labels, masks or reports.

    Attributes:
        images: (N, V, H, W, 3) uint8 RGB.
        labels: classes (N,), or 0 and 1 for each of several labels (N, C).
        masks: (N, V, H, W) class of each pixel.
        reports: a text for each case.
        names: of the classes.
        mirrored: whether a mirrored picture may stand for itself; not where left and right are told apart.
        grey: whether pictures are brought to grey.
        given: parts of a published split, by name; drawn if empty.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None
    masks: NDArray[np.uint8] | None = None
    reports: Sequence[str] = ()
    names: tuple[str, ...] = ()
    mirrored: bool = False
    grey: bool = False
    given: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count, shape = len(self.images), self.images.shape
        if self.images.ndim != 5 or shape[4] != 3 or self.images.dtype != np.uint8 or count == 0:
            raise ValueError(f"images: expected (N, V, H, W, 3) uint8, found {shape} {self.images.dtype}")
        if (self.labels is not None) + (self.masks is not None) + bool(len(self.reports)) != 1:
            raise ValueError("cases: expected one of labels, masks and reports, found several or none")
        targets = self.labels if self.labels is not None else self.masks if self.masks is not None else self.reports
        if len(targets) != count:
            raise ValueError(f"targets: expected {count}, found {len(targets)}")
        if self.labels is not None:
            width = len(self.names) if self.labels.ndim == 1 else 2
            if self.labels.ndim == 2 and self.labels.shape[1] != len(self.names):
                raise ValueError(f"labels: expected {len(self.names)} columns, found {self.labels.shape[1]}")
            _check_classes("labels", self.labels, width)
        if self.masks is not None:
            if self.masks.shape != shape[:4]:
                raise ValueError(f"masks: expected {shape[:4]}, found {self.masks.shape}")
            _check_classes("masks", self.masks, len(self.names))
        if self.given:
            check_disjoint(self.given, "given split")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def kind(self) -> Kind:
        """What is asked of the pictures."""
        if self.labels is not None:
            return "classification"
        return "segmentation" if self.masks is not None else "report"


def _check_classes(name: str, values: NDArray, classes: int) -> None:
    low, high = int(values.min()), int(values.max())
    if classes < 2 or low < 0 or high >= classes or low == high:
        raise ValueError(f"{name}: expected several of at least two classes, found {low} to {high} of {classes}")


def cases_of_frames(frames: Frames, kind: Kind, label: str = "") -> Cases:
    """Cases of frames as `sim.reported_scenes`, `sim.segmented_scenes` or `sim.renders` draws them.

    The frames of an episode are the views of one case. Classes are read from the first view, masks of all views, and
    reports are told of all views together.

    Args:
        frames: an equal number of each episode.
        kind: of the targets.
        label: column of the classes; `shown` if there, else `label`.

    Raises:
        ValueError: the frames lack what is wanted, or episodes differ in length.
    """
    episodes, counts = np.unique(frames.episode, return_counts=True)
    if len(set(counts.tolist())) != 1:
        raise ValueError(f"frames: expected equally many of each scene, found {counts.min()} to {counts.max()}")
    rows = np.argsort(frames.episode, kind="stable").reshape(len(episodes), counts[0])
    images = np.ascontiguousarray(frames.images[rows])
    if kind == "report":
        frames.need(["texts"])
        return Cases(images, reports=[frames.texts[row] for row in rows[:, 0]])
    if kind == "segmentation":
        frames.need([SEGMENTATION])
        return Cases(images, masks=frames.columns[SEGMENTATION][rows], names=frames.names.get(SEGMENTATION, ()))
    label = label or (SHOWN if SHOWN in frames.columns else LABEL)
    frames.need([label])
    if label not in frames.names:
        raise ValueError(f"{label}: expected a column that numbers something, found one of {sorted(frames.names)}")
    labels = frames.columns[label][rows[:, 0]].astype(np.int64)
    return Cases(images[:, :1], labels=labels, names=frames.names[label])


def read_radiographs(directory: Path, kind: Kind, size: int = 224) -> Cases:
    """Cases of a folder of grey pictures, brought to one size.

    `labels.csv` has a column `image` and one of 0 and 1 for each label; a single label makes two classes. `masks/`
    holds a picture of class numbers for some of `images/`, by the same name; 255 is taken for 1. `annotation.json` is
    that of IU-Xray: lists `train`, `val` and `test` of objects with `id`, `image_path` and `report`; its split is kept.

    Args:
        directory: of these files.
        kind: of the targets.
        size: side that pictures are brought to, pixels.

    Raises:
        ValueError: a file is missing or damaged, or names a picture that is not there.
    """
    if kind == "report":
        return _annotated(directory, size)
    if kind == "segmentation":
        return _masked(directory, size)
    return _labelled(directory, size)


def _labelled(directory: Path, size: int) -> Cases:
    path = resolve_inside(directory, LABELS_FILE)
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = list(csv.reader(file)) or [[]]
    if not head or head[0] != "image" or len(head) < 2:
        raise ValueError(f"{path}: expected columns image and labels, found {head}")
    wrong = [row for row in rows if len(row) != len(head) or not set(row[1:]) <= {"0", "1"}]
    if wrong or not rows:
        raise ValueError(f"{path}: expected rows of a picture and {len(head) - 1} of 0 and 1, found {wrong[:1]}")
    images = np.stack([_picture(directory, f"{IMAGES}/{row[0]}", size) for row in rows])[:, None]
    labels = np.array([[int(value) for value in row[1:]] for row in rows])
    names = tuple(head[1:])
    if len(names) == 1:
        labels, names = labels[:, 0], (f"no {names[0]}", names[0])
    return Cases(images, labels=labels, names=names, mirrored=True, grey=True)


def _masked(directory: Path, size: int) -> Cases:
    files = sorted((directory / MASKS).glob("*.png"))
    if not files:
        raise ValueError(f"{directory}: expected {MASKS}/*.png, found none")
    masks = []
    for file in files:
        mask = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise ValueError(f"{file}: expected a picture, found something that OpenCV does not read")
        masks.append(cv2.resize(np.where(mask == 255, 1, mask), (size, size), interpolation=cv2.INTER_NEAREST))
    images = np.stack([_picture(directory, f"{IMAGES}/{file.name}", size) for file in files])[:, None]
    names = tuple(f"class {number}" for number in range(int(np.max(masks)) + 1))
    return Cases(images, masks=np.stack(masks)[:, None], names=names, mirrored=True, grey=True)


def _annotated(directory: Path, size: int) -> Cases:
    content, images, reports, given = read_json(directory, ANNOTATION_FILE), [], [], {}
    for name in (TRAIN, VALIDATION, TEST):
        entries = content.get(name)
        if not isinstance(entries, list) or not entries:
            raise ValueError(f"{ANNOTATION_FILE}: {name}: expected a list of cases, found {entries!r:.60}")
        given[name] = np.arange(len(reports), len(reports) + len(entries))
        for entry in entries:
            paths, report = _entry(entry)
            images.append([_picture(directory, f"{IMAGES}/{path}", size) for path in paths])
            reports.append(report)
    views = sorted({len(paths) for paths in images})
    if len(views) != 1:
        raise ValueError(f"{ANNOTATION_FILE}: image_path: expected as many views of each case, found {views}")
    return Cases(np.array(images), reports=reports, grey=True, given=given)


def _entry(entry: Any) -> tuple[list[str], str]:
    paths = entry.get("image_path") if isinstance(entry, dict) else None
    if not isinstance(paths, list) or not paths or not isinstance(entry.get("report"), str):
        raise ValueError(f"{ANNOTATION_FILE}: expected image_path and report, found {entry!r:.100}")
    return [str(path) for path in paths], entry["report"]


def _picture(directory: Path, relative: str, size: int) -> NDArray[np.uint8]:
    grey = cv2.imread(str(resolve_inside(directory, relative)), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise ValueError(f"{relative}: expected a picture, found something that OpenCV does not read")
    return cv2.cvtColor(cv2.resize(grey, (size, size), interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2RGB)
