"""`choose_path`: which way of replacing an encoder fits to what there is, and why the others do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Path = Literal["d_simplex", "bt2", "oca", "relative_representations", "reindex"]
PATHS: tuple[Path, ...] = ("d_simplex", "bt2", "oca", "relative_representations", "reindex")


@dataclass(frozen=True)
class Available:
    """What there is beside the memory and the new encoder.

    Attributes:
        labels: pictures to learn from have classes.
        old_encoder: the old encoder still runs.
        prototypes: class prototypes of the old encoder are kept, or follow from a memory with classes.
        simplex: the old encoder was trained under a simplex.
        coordinates: what is stored are coordinates by anchors already.
        keep_new: the new encoder was trained by itself, and what it knows shall be kept.
        anchors: pictures of anchors, or an old encoder that has its own.
        old_pictures: pictures of what the memory holds.
    """

    labels: bool = False
    old_encoder: bool = False
    prototypes: bool = False
    simplex: bool = False
    coordinates: bool = False
    keep_new: bool = False
    anchors: bool = False
    old_pictures: bool = False


@dataclass(frozen=True)
class Choice:
    """A path.

    Attributes:
        path: its name.
        reason: why this one.
        others: why not each of the others, by name.
    """

    path: Path
    reason: str
    others: dict[str, str]


def obstacles(available: Available) -> dict[Path, str]:
    """What is missing for each path; empty for those that can be taken."""
    missing: dict[Path, list[str]] = {path: [] for path in PATHS}
    for path in ("d_simplex", "bt2", "oca"):
        if not available.labels:
            missing[path].append("classes of the pictures to learn from")
    if not available.simplex:
        missing["d_simplex"].append("an old encoder that was trained under a simplex")
    if not available.old_encoder:
        missing["bt2"].append("the old encoder")
    if not (available.old_encoder or available.prototypes):
        missing["oca"].append("class prototypes of the old encoder, or the old encoder")
    if not available.old_encoder:
        missing["relative_representations"].append("the old encoder, to encode the anchors")
    if not (available.anchors or available.old_pictures):
        missing["relative_representations"].append("pictures of anchors")
    if not available.old_pictures:
        missing["reindex"].append("the pictures of what the memory holds")
    return {path: ", and ".join(words) for path, words in missing.items()}


def choose_path(available: Available, wanted: str = "auto") -> Choice:
    """The path that fits best, or the one that is wanted.

    Args:
        available: what there is.
        wanted: a path, or "auto".

    Raises:
        ValueError: it cannot be taken, or none can; says what is missing.
    """
    missing = obstacles(available)
    if wanted != "auto":
        if wanted not in missing:
            raise ValueError(f"path: expected auto, {', '.join(PATHS)}, found {wanted!r}")
        if missing[wanted]:
            raise ValueError(f"path {wanted}: expected {missing[wanted]}; found none")
        return Choice(wanted, "it was asked for", {})
    able = [path for path in PATHS if not missing[path]]
    if not able:
        words = "; ".join(f"{path} needs {words}" for path, words in missing.items())
        raise ValueError(f"upgrade: expected what one path needs, found too little: {words}")
    path, reason = _best(available, able)
    others = {other: f"needs {missing[other]}" if missing[other] else "comes after it" for other in PATHS}
    return Choice(path, reason, {other: why for other, why in others.items() if other != path})


def _best(available: Available, able: list[Path]) -> tuple[Path, str]:
    if "d_simplex" in able:
        return "d_simplex", "the old encoder was trained under a simplex, so that classes have their places already"
    if available.coordinates and "relative_representations" in able:
        return "relative_representations", "coordinates are stored, so that another encoder needs the anchors alone"
    if available.keep_new and "bt2" in able:
        return "bt2", "the new encoder was trained by itself and shall lose nothing, and the old one still runs"
    if "oca" in able:
        return "oca", "there are classes, and class prototypes are all that is needed of the old encoder"
    if "relative_representations" in able:
        return "relative_representations", "nothing can be trained without classes, and both can encode the anchors"
    return "reindex", "no path avoids it, and the pictures of the memory are there"
