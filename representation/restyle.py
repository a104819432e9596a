r"""Bring recorded episodes into other looks: `python -m representation.restyle --model DIR --dataset IN --output OUT`.

    python -m representation.restyle --model runs/mmist/model --dataset runs/push --output runs/push_restyled \
        --look "dark brown wood" "0.7*red brick; 0.3*@photo_of_the_lab.jpg"

A look is a mix of texts and pictures (`@FILE`), separated by semicolons, each with a weight in front if they are not to
count alike. Each episode gets one of the looks, one set of style pictures and one choice of the places that are
attended to, so that it does not flicker. Everything but the pictures stays: what was written is read again, and must be
equal. An episode whose edges do not stay where they were is tried in the other looks, and left out if none will do.

IN is a LeRobot dataset, or frames in the plain format (`representation.data.frames`); OUT is the same. It also holds
`restyle.json` (where everything came from, and what was measured of each episode) and `looks.safetensors` (the looks,
for `--looks` here and `--restyle.looks` of `policies.train`), in `meta/` of a LeRobot dataset. Objects change their
colours too: instructions that name colours are no longer true, unless `--strength` is low. How much of the vivid
colours stayed is told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from representation.checkpoint import encoder_key
from representation.data.frames import FRAMES_FILE, Frames, as_pixels, expect_empty, open_frames, write_frames
from representation.data.lerobot_dataset import LeRobotDataset
from representation.data.lerobot_format import INDEX_FEATURES, INFO_PATH
from representation.data.lerobot_writer import LeRobotWriter
from representation.generative.mmist import MMIST, Look, StyleSpec, load, load_looks, save_looks
from representation.generative.mmist.edges import flicker, mean_edge_f1
from representation.generative.mmist.model import Style

PROVENANCE_FILE, LOOKS_FILE = "restyle.json", "looks.safetensors"
CONTENTS = 16
VIVID, HUE_STEPS = 110, 12  # of 255, and of OpenCV's 180
_CLOCK = 1e-3  # s
_RECODED = 8.0  # of 255: root mean square by which a picture may change when it is encoded again


@dataclass(frozen=True)
class RestyleCommand:
    """What is restyled, and how.

    Attributes:
        model: directory of a model of `representation.generative.mmist.train`.
        dataset: LeRobot dataset, or frames in the plain format.
        output: directory to write; new or empty.
        look: looks to find.
        looks: file of looks that were found before, in place of `look`.
        cameras: whose pictures are restyled; all if left out.
        pictures: style pictures of a look.
        strength: share of the new look in a picture; the rest is what it was.
        least_edges: smallest mean F1 of the edges of an episode's frames before and after.
        seed: of all draws.
        threads: of torch.
    """

    model: Path
    dataset: Path
    output: Path
    look: tuple[str, ...] = ()
    looks: Path | None = None
    cameras: tuple[str, ...] = ()
    pictures: int = 8
    strength: float = 1.0
    least_edges: float = 0.5
    seed: int = 0
    threads: int = 2

    def __post_init__(self) -> None:
        if bool(self.look) == (self.looks is not None):
            raise ValueError(f"look, looks: expected one of the two, found {list(self.look)} and {self.looks}")
        if not 0 < self.strength <= 1 or not 0 <= self.least_edges <= 1 or self.pictures < 1:
            raise ValueError(
                "strength, least_edges, pictures: expected in (0, 1], in [0, 1] and at least 1, found "
                f"{self.strength}, {self.least_edges}, {self.pictures}"
            )


def parse_look(text: str) -> StyleSpec:
    """The style of a command's look: `[WEIGHT*]TEXT` or `[WEIGHT*]@FILE`, separated by semicolons.

    Raises:
        ValueError: nothing in it, a weight that is none, or a file that is no picture.
    """
    texts: dict[str, float] = {}
    images = []
    for term in filter(None, map(str.strip, text.split(";"))):
        head, star, tail = term.partition("*")
        try:
            weight, what = (float(head), tail.strip()) if star else (1.0, term)
        except ValueError:
            raise ValueError(f"look {text!r}: expected a weight before *, found {head!r}") from None
        if what.startswith("@"):
            image = cv2.imread(what[1:], cv2.IMREAD_COLOR)
            if image is None:
                raise ValueError(f"look {text!r}: expected a picture, found none in {what[1:]}")
            images.append((as_pixels(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)[None])[0], weight))
        else:
            texts[what] = texts.get(what, 0.0) + weight
    try:
        return StyleSpec(texts, images)
    except ValueError as error:
        raise ValueError(f"look {text!r}: {error}") from None


class Restyler:
    """Restyles episodes, each in one of some looks.

    Args:
        model: changes frames.
        looks: to choose from.
        strength: share of the new look.
        least_edges: smallest mean F1 of edges.
        seed: of the order in which an episode tries looks, and of the places that it attends to.
    """

    def __init__(
        self, model: MMIST, looks: Sequence[Look], strength: float = 1.0, least_edges: float = 0.5, seed: int = 0
    ) -> None:
        self._model, self._looks, self._strength = model, looks, strength
        self._least_edges, self._seed = least_edges, seed

    def episode(
        self, number: int, views: Mapping[str, NDArray[np.uint8]]
    ) -> tuple[dict[str, NDArray[np.uint8]] | None, dict[str, Any]]:
        """Pictures of an episode in the first look, in an order of its own, in which its edges stay.

        Args:
            number: of the episode.
            views: pictures (N, H, W, 3) of each camera.

        Returns:
            The new pictures of each, None if no look will do; and what was measured.
        """
        seed = int(np.random.default_rng((self._seed, number)).integers(2**31))
        tried: dict[str, float] = {}
        for choice in np.random.default_rng((self._seed, number, 1)).permutation(len(self._looks)):
            look = self._looks[choice]
            style = self._model.style(look, seed)
            made = {camera: self.frames(images, style, seed) for camera, images in views.items()}
            edges = min(mean_edge_f1(views[camera], images) for camera, images in made.items())
            tried[look.name] = round(edges, 4)
            if edges >= self._least_edges:
                told: dict[str, Any] = {"look": look.name, "token_seed": seed, "edge_f1": tried[look.name]}
                told["colours_kept"] = round(min(colours_kept(views[key], made[key]) for key in made), 4)
                told["flicker"] = round(max(flicker(views[key], made[key]) for key in made), 4)
                return made, told
        return None, {"edge_f1_by_look": tried}

    def frames(self, images: NDArray[np.uint8], style: Style, seed: int = 0) -> NDArray[np.uint8]:
        """Pictures (N, H, W, 3) in a look; the seed is that of the style."""
        made = self._model.restyle(as_pixels(images), style, self._strength, seed)
        return (255 * made).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def colours_kept(contents: NDArray[np.uint8], restyled: NDArray[np.uint8]) -> float:
    """Share of the vivid pixels of pictures (N, H, W, 3) that are vivid still and of nearly the same hue; 1 of none."""
    before, after = (
        np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2HSV) for image in images]).astype(np.int16)
        for images in (contents, restyled)
    )
    vivid = (before[..., 1] >= VIVID) & (before[..., 2] >= VIVID // 2)
    way = np.abs(before[..., 0] - after[..., 0])
    same = (np.minimum(way, 180 - way) <= HUE_STEPS) & (after[..., 1] >= VIVID // 2)
    return float(same[vivid].mean()) if vivid.any() else 1.0


def found_looks(command: RestyleCommand, model: MMIST, contents: NDArray[np.uint8]) -> list[Look]:
    """The looks that a command names, found for some contents (N, H, W, 3) or read from a file."""
    if command.looks is not None:
        return load_looks(command.looks)
    specs = [parse_look(text) for text in command.look]
    for spec in specs:  # before the first is sought for minutes
        model.check_words(spec)
    found = []
    for number, (text, spec) in enumerate(zip(command.look, specs, strict=True)):
        print(f"look {number + 1} of {len(specs)}: {text}")
        found.append(model.find(text, spec, as_pixels(contents), command.pictures, command.seed * 1000 + number))
    return found


def restyle_dataset(command: RestyleCommand, model: MMIST) -> dict[str, Any]:
    """Restyle a LeRobot dataset; what `restyle.json` holds.

    Raises:
        ValueError: a camera that is not there, no episode that will do, or labels that came back changed.
    """
    source = LeRobotDataset(command.dataset)
    videos = [key for key, feature in source.info.features.items() if feature.dtype == "video"]
    prefix = "observation.images."
    wanted = [f"{prefix}{camera}" for camera in command.cameras] or [key for key in videos if key.startswith(prefix)]
    unknown = sorted(set(wanted) - set(videos))
    if unknown or not wanted:
        raise ValueError(f"cameras: expected some of {[key.removeprefix(prefix) for key in videos]}, found {unknown}")
    looks = found_looks(command, model, _some_frames(source, wanted))
    restyler = Restyler(model, looks, command.strength, command.least_edges, command.seed)
    features = {
        key: {"dtype": feature.dtype, "shape": feature.shape, "names": feature.names}
        for key, feature in source.info.features.items()
        if key not in INDEX_FEATURES and key in source.keys
    }
    writer = LeRobotWriter(command.output, source.info.fps, features, source.info.robot_type)
    kept, refused = [], []
    for number in tqdm(range(source.num_episodes), desc="episodes", unit="episode"):
        episode = source.episode(number)
        made, told = restyler.episode(number, {key: episode[key] for key in wanted})
        if made is None:
            refused.append({"source_episode": number} | told)
            continue
        kept.append({"source_episode": number} | told)
        columns = episode | made
        for row, task in enumerate(episode["task"]):
            frame = {key: np.reshape(columns[key][row], spec["shape"]) for key, spec in features.items()}
            writer.add_frame(frame, task)
        writer.save_episode()
    if not kept:
        raise ValueError(f"{command.dataset}: expected episodes whose edges stay, found none: {refused[:3]}")
    content = _provenance(command, looks) | {"cameras": wanted, "episodes": kept, "refused": refused}
    save_looks(looks, command.output / "meta" / LOOKS_FILE)
    _write(content, command.output / "meta" / PROVENANCE_FILE)
    writer.finalize()
    check_labels(command.dataset, command.output, [told["source_episode"] for told in kept], wanted)
    return content


def check_labels(before: Path, after: Path, episodes: Sequence[int], restyled: Sequence[str]) -> None:
    """Read a dataset again, and compare all but the restyled pictures with those of its source.

    Pictures of other cameras were encoded again, so they may differ a little.

    Args:
        before: the source.
        after: the restyled dataset.
        episodes: number in the source of each episode of the restyled one.
        restyled: keys of the pictures that changed.

    Raises:
        ValueError: something else changed; names episode and key.
    """
    source, found = LeRobotDataset(before), LeRobotDataset(after)
    if found.num_episodes != len(episodes):
        raise ValueError(f"{after}: expected {len(episodes)} episodes, found {found.num_episodes}")
    numbered = set(INDEX_FEATURES) - {"timestamp"}  # rewritten by the writer
    colours = {key for key, feature in source.info.features.items() if feature.dtype == "video"}
    keys = [key for key in source.keys if key not in numbered and key not in restyled]
    missing = sorted(set(source.keys) - set(found.keys))
    if missing:
        raise ValueError(f"{after}: expected {missing}, found {found.keys}")
    for number, original in enumerate(episodes):
        one, other = source.episode(original, keys), found.episode(number, keys)
        for key, value in one.items():
            if key == "timestamp":
                same = value.shape == other[key].shape and np.allclose(value, other[key], atol=_CLOCK)
            elif key == "task":
                same = value == other[key]
            elif key in colours:
                same = value.shape == other[key].shape and bool((_distances(value, other[key]) <= _RECODED).all())
            else:
                same = np.array_equal(value, other[key], equal_nan=value.dtype.kind == "f")
            if not same:
                raise ValueError(f"{after}: {key}: expected that of episode {original} of {before}, found another")


def _distances(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Root mean square difference (N,) of pictures (N, H, W, 3)."""
    return np.array([np.sqrt(np.mean((a.astype(np.float32) - b) ** 2)) for a, b in zip(one, other, strict=True)])


def restyle_frames(frames: Frames, restyler: Restyler) -> tuple[Frames, list[dict[str, Any]], list[dict[str, Any]]]:
    """Frames with the pictures restyled by episode; what was measured of those that were kept, and of the others."""
    rows, images, kept, refused = [], [], [], []
    for number in tqdm(np.unique(frames.episode).tolist(), desc="episodes", unit="episode"):
        own = np.flatnonzero(frames.episode == number)
        made, told = restyler.episode(number, {"": np.ascontiguousarray(frames.images[own])})
        if made is None:
            refused.append({"source_episode": number} | told)
            continue
        kept.append({"source_episode": number} | told)
        rows.append(own)
        images.append(made[""])
    if not rows:
        raise ValueError(f"frames: expected episodes whose edges stay, found none: {refused[:3]}")
    part = frames.subset(np.concatenate(rows))
    return Frames(np.concatenate(images), part.episode, part.columns, part.names, part.texts), kept, refused


def restyle_plain(command: RestyleCommand, model: MMIST) -> dict[str, Any]:
    """Restyle frames in the plain format; what `restyle.json` holds. Errors as of `restyle_dataset`."""
    frames = open_frames(command.dataset)
    rows = np.random.default_rng(command.seed).permutation(len(frames))[:CONTENTS]
    looks = found_looks(command, model, frames.images[rows])
    restyler = Restyler(model, looks, command.strength, command.least_edges, command.seed)
    made, kept, refused = restyle_frames(frames, restyler)
    write_frames(made, command.output)
    content = _provenance(command, looks) | {"episodes": kept, "refused": refused}
    save_looks(looks, command.output / LOOKS_FILE)
    _write(content, command.output / PROVENANCE_FILE)
    again = open_frames(command.output)
    place = np.concatenate([np.flatnonzero(frames.episode == told["source_episode"]) for told in kept])
    for name in ("episode", *frames.columns):
        one, other = (part.episode if name == "episode" else part.columns[name] for part in (frames, again))
        if not np.array_equal(one[place], other, equal_nan=one.dtype.kind == "f"):
            raise ValueError(f"{command.output}: {name}: expected that of {command.dataset}, found another")
    return content


def _some_frames(source: LeRobotDataset, keys: Sequence[str]) -> NDArray[np.uint8]:
    """Frames (N, H, W, 3) of the first camera from the middle of up to 16 episodes, spread over all."""
    chosen = np.unique(np.linspace(0, source.num_episodes - 1, CONTENTS).round().astype(int))
    parts = [source.episode(int(number), keys[:1])[keys[0]] for number in chosen]
    return np.stack([part[len(part) // 2] for part in parts])


def _provenance(command: RestyleCommand, looks: Sequence[Look]) -> dict[str, Any]:
    return {
        "source": str(command.dataset),
        "model": encoder_key(command.model),
        "looks": [look.name for look in looks],
        "looks_from": None if command.looks is None else str(command.looks),
        "pictures": [len(look.images) for look in looks],
        "strength": command.strength,
        "least_edges": command.least_edges,
        "seed": command.seed,
    }


def _write(content: Mapping[str, Any], file: Path) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main(args: Sequence[str] | None = None) -> None:
    """Restyle from the command line, and tell what was measured."""
    command = tyro.cli(RestyleCommand, args=args, description=__doc__)
    expect_empty(command.output)
    torch.set_num_threads(command.threads)
    model = load(command.model)
    if (command.dataset / INFO_PATH).is_file():
        content = restyle_dataset(command, model)
    elif (command.dataset / FRAMES_FILE).is_file():
        content = restyle_plain(command, model)
    else:
        raise SystemExit(f"--dataset: expected {INFO_PATH} or {FRAMES_FILE} in {command.dataset}, found neither")
    kept, refused = content["episodes"], content["refused"]
    means = {name: np.mean([told[name] for told in kept]) for name in ("edge_f1", "colours_kept", "flicker")}
    print(
        f"{command.output}: {len(kept)} episodes in {len(content['looks'])} looks; F1 of edges {means['edge_f1']:.2f}, "
        f"vivid colours kept {means['colours_kept']:.2f}, flicker {means['flicker']:.4f}"
    )
    for told in refused:
        print(f"episode {told['source_episode']} left out: its edges did not stay, {told['edge_f1_by_look']}")


if __name__ == "__main__":
    main()
