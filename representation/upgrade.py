"""Replace the encoder of a memory: `python -m representation.upgrade --memory OLD --new-encoder RUN --data DIR`.

OLD is an episode memory (`representation.memory`), or the file that `representation.embed` wrote with the old encoder;
DIR holds frames to learn from and to measure with, some episodes each. What else there is (`--old-encoder`,
`--prototypes`, `--anchors`, `--memory-data`, classes in DIR and in OLD) decides which way is taken; `--plan` only says
so. `--output` then holds

- `encoder/`: what searches from now on, and what new entries are made with; an episode memory holds vectors under its
  key, beside those of the old encoder;
- `memory.npz`: the vectors of a file, if they were rewritten, as coordinates or anew; else the old file stays in use;
- `upgrade.json`: path, reasons, retrieval of old and new queries beside full re-indexing, and cost, as printed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor

from representation.checkpoint import encoder_key
from representation.compatibility import upgrading
from representation.compatibility.class_prototypes import class_prototypes, read_prototypes
from representation.compatibility.d_simplex import DSimplexEncoder
from representation.compatibility.relative_representations import RelativeEncoder, select_anchors
from representation.compatibility.stored_vectors import StoredVectors, read_vectors
from representation.compatibility.upgrade_paths import Available, Choice, choose_path
from representation.compatibility.upgrade_report import (
    Carry,
    Measurement,
    Stored,
    UpgradeReport,
    as_they_are,
    seconds_to_encode,
)
from representation.data.frames import LABEL, Frames, expect_empty, open_frames
from representation.embedding import embed
from representation.interface import Encoder
from representation.registry import load_encoder
from representation.training import LoopConfig, check_output

REPORT_FILE = "upgrade.json"


@dataclass(frozen=True, kw_only=True)
class UpgradeConfig(LoopConfig):
    """What there is, after the arguments of the training that three of the paths do.

    Attributes:
        memory: vectors of the old encoder; with their classes if these are known to a file.
        key: of the old encoder in an episode memory; that of `old_encoder` if left out.
        new_encoder: directory of an encoder or of a run.
        data: directory of frames, with classes if they are known.
        old_encoder: directory of the encoder that made the memory, if it still runs.
        prototypes: file with its class prototypes; they also follow from a memory with classes.
        anchors: directory of frames that become anchors.
        memory_data: directory of the frames that the memory holds, in its order; that of an episode memory is the order
            of its source.
        keep_new: the new encoder was trained by itself and shall lose nothing.
        path: "auto", or the path that is wanted.
        plan: only say which path is taken.
        anchor_count: at most so many of the frames become anchors.
        extra_dims: numbers that oca and bt2 add.
        held_out: share of the episodes that is measured with.
        camera: of LeRobot datasets; the first one if left out.
        image_size: side that pictures are brought to first, pixels; 0 keeps them.
    """

    memory: str
    key: str = ""
    new_encoder: Path
    data: Path
    old_encoder: Path | None = None
    prototypes: Path | None = None
    anchors: Path | None = None
    memory_data: Path | None = None
    keep_new: bool = False
    path: str = "auto"
    plan: bool = False
    anchor_count: int = 300
    extra_dims: int = 16
    held_out: float = upgrading.HELD_OUT
    camera: str = ""
    image_size: int = 0
    steps: int = 1000
    validation_episodes: int = 0


@dataclass(frozen=True)
class Situation:
    """All that an upgrade has, opened.

    Attributes:
        memory: of the old encoder.
        new: the new encoder as it was given.
        frames: to learn from and to measure with.
        old: the old encoder, if it still runs.
        prototypes: its class prototypes (C, d), given or out of the memory; None if neither.
        anchors: frames that become anchors; None if there are none.
        memory_frames: what the memory holds; None if they are gone.
    """

    memory: StoredVectors
    new: Encoder
    frames: Frames
    old: Encoder | None = None
    prototypes: Tensor | None = None
    anchors: Frames | None = None
    memory_frames: Frames | None = None

    def __post_init__(self) -> None:
        width = self.memory.vectors.shape[1]
        if self.old is not None and self.old.width != width:
            raise ValueError(
                f"old_encoder: expected the one of {width} numbers, as in the memory, found {self.old.width}"
            )
        if self.prototypes is not None and self.prototypes.shape[1] != width:
            raise ValueError(f"prototypes: expected (C, {width}), found {tuple(self.prototypes.shape)}")
        names = self.frames.names.get(LABEL, ())
        if names and self.memory.names and names != self.memory.names:
            raise ValueError(f"data: expected the classes of the memory, {self.memory.names}, found {names}")
        if self.memory_frames is not None and len(self.memory_frames) != len(self.memory.vectors):
            raise ValueError(
                f"memory_data: expected the {len(self.memory.vectors)} frames of the memory, "
                f"found {len(self.memory_frames)}"
            )

    def available(self, keep_new: bool) -> Available:
        """What `choose_path` asks for."""
        return Available(
            labels=LABEL in self.frames.columns,
            old_encoder=self.old is not None,
            prototypes=self.prototypes is not None,
            simplex=isinstance(self.old, DSimplexEncoder),
            coordinates=isinstance(self.old, RelativeEncoder),
            keep_new=keep_new,
            anchors=self.anchors is not None or isinstance(self.old, RelativeEncoder),
            old_pictures=self.memory_frames is not None,
        )


def upgrade(
    situation: Situation, choice: Choice, config: UpgradeConfig
) -> tuple[Encoder, StoredVectors, UpgradeReport]:
    """Take a path.

    Returns:
        What searches from now on, the memory as it is then (the same object if nothing was rewritten), and the report.
    """
    training, queries = upgrading.split(situation.frames, config.held_out, config.seed)
    began, memory = time.perf_counter(), situation.memory
    carried: Carry | None = as_they_are
    if choice.path == "relative_representations":
        upgraded, memory, carried, encoded = _relative(situation, config)
    elif choice.path == "reindex":
        upgraded, encoded, carried = situation.new, len(situation.memory_frames), None
        memory = memory.rewritten(embed(situation.new, situation.memory_frames))
    else:
        objective = upgrading.new_objective(
            choice.path,
            training,
            config.seed,
            upgrading.copy_of(situation.new, training=True),
            situation.old,
            situation.prototypes,
            config.extra_dims,
        )
        upgraded, encoded = upgrading.train(objective, training, config), 0
    seconds = time.perf_counter() - began
    rewritten = 0 if memory is situation.memory else len(memory.vectors)
    count = len(situation.memory.vectors)
    each = seconds_to_encode(situation.new, queries)
    stored = Stored(situation.memory, memory, situation.memory_frames, carried)
    found = Measurement(situation.old, upgraded, situation.new, queries, stored)
    cost = {
        "seconds of the upgrade": seconds,
        "pictures encoded for the memory": encoded,
        "vectors rewritten": rewritten,
        "numbers of a new vector": upgraded.width,
        "re-indexing: pictures encoded": count,
        "re-indexing: seconds, by the time of some": each * count,
    }
    report = UpgradeReport(
        choice.path, choice.reason, choice.others, found.retrieval, found.galleries, found.found_again, cost
    )
    return upgraded, memory, report


@torch.no_grad()
def _relative(situation: Situation, config: UpgradeConfig) -> tuple[Encoder, StoredVectors, Carry, int]:
    """The new encoder behind anchors, the memory as coordinates, how these are made, and pictures that were encoded."""
    old, memory = situation.old, situation.memory
    if isinstance(old, RelativeEncoder):  # what is stored are coordinates already
        return RelativeEncoder(situation.new, old.anchor_inputs, old.center).eval(), memory, as_they_are, old.width
    frames = situation.anchors if situation.anchors is not None else situation.memory_frames
    count = min(config.anchor_count, len(frames))
    rows = select_anchors(torch.zeros(len(frames), 1), count, seed=config.seed)
    anchors = frames.pixels(rows.numpy())
    before, after = (RelativeEncoder(one, anchors, center=True).eval() for one in (old, situation.new))
    coordinates = before.project(torch.from_numpy(memory.vectors)).numpy()
    return after, memory.rewritten(coordinates), before.project, 2 * count


def read_situation(config: UpgradeConfig) -> Situation:
    """Open all that the arguments name.

    Raises:
        ValueError: parts that do not fit to each other, or damaged files.
        FileNotFoundError: something is not there.
    """

    def frames(path: Path | None) -> Frames | None:
        return None if path is None else open_frames(path, config.camera, config.image_size)

    memory, prototypes = _stored(config), None
    if config.prototypes is not None:
        prototypes = read_prototypes(config.prototypes)
    elif memory.labels is not None:
        labels = torch.from_numpy(memory.labels)
        prototypes = class_prototypes(torch.from_numpy(memory.vectors), labels, int(labels.max()) + 1)
    return Situation(
        memory,
        load_encoder(config.new_encoder),
        frames(config.data),
        None if config.old_encoder is None else load_encoder(config.old_encoder),
        prototypes,
        frames(config.anchors),
        frames(config.memory_data),
    )


def _stored(config: UpgradeConfig) -> StoredVectors:
    file = Path(config.memory)
    if "://" not in config.memory and not file.is_dir():
        if config.key:
            raise ValueError(f"--key: expected none, as {config.memory} is no episode memory, found {config.key!r}")
        return read_vectors(file)
    from representation.memory.memory_vectors import MemoryVectors  # needs the extra `memory`

    if not config.key and config.old_encoder is None:
        raise ValueError("--key: expected the old encoder's, or --old-encoder, found neither")
    return MemoryVectors.read(config.memory, config.key or encoder_key(config.old_encoder))


def main(args: Sequence[str] | None = None) -> None:
    """Choose a path, take it, and print what came of it."""
    config = tyro.cli(UpgradeConfig, args=args, description=__doc__)
    check_output(config)
    if not config.resume:
        expect_empty(config.output)
    torch.set_num_threads(config.threads)
    situation = read_situation(config)
    choice = choose_path(situation.available(config.keep_new), config.path)
    if config.plan:
        print("\n".join(UpgradeReport(choice.path, choice.reason, choice.others).lines()))
        return
    upgraded, memory, report = upgrade(situation, choice, config)
    config.output.mkdir(parents=True, exist_ok=True)
    upgraded.save(config.output / "encoder")
    memory.keep(config.output, encoder_key(config.output), upgraded, memory is not situation.memory)
    report.write(config.output / REPORT_FILE)
    print("\n".join(report.lines()))


if __name__ == "__main__":
    main()
