"""The robot's episode memory: `python -m representation.memory VERB`, see `--help`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from representation.checkpoint import encoder_key
from representation.memory import binary_frames, queries
from representation.memory.episode_memory import EpisodeMemory
from representation.memory.export import export
from representation.memory.filters import Filter
from representation.memory.hits_page import write_hits_page
from representation.memory.pictures import write_picture
from representation.memory.schema import EPISODES, FRAMES, TABLES, EncoderColumns
from representation.memory.search import Mode, SearchOptions
from representation.memory.sources import SourceOptions, remember
from representation.registry import load_encoder

Memory = Annotated[str, tyro.conf.Positional]


@dataclass(frozen=True)
class Add:
    """Add the frames and episodes of a dataset.

    Attributes:
        memory: directory or address of the memory, see `memory.store`; made if it is not there.
        encoders: directories of encoders, or of runs that trained them.
        source: which dataset.
        prefix: numbers that a funnel begins with; 0 keeps none. For nested vectors, see `matryoshka`.
        signs: also keep the signs of the numbers, to be searched by Hamming distance.
        only_signs: keep nothing but the signs: all there is to the vectors of `binary_latent_diffusion`.
    """

    memory: Memory
    encoders: tuple[Path, ...]
    source: Annotated[SourceOptions, tyro.conf.arg(name="")]
    prefix: int = 0
    signs: bool = False
    only_signs: bool = False

    def run(self) -> None:
        """Add them."""
        encoders = {encoder_key(path): load_encoder(path) for path in self.encoders}
        self.source.episodes()  # a memory of a dataset that is none is not begun
        memory = EpisodeMemory(self.memory, create=True)
        for key, encoder in encoders.items():
            signs = self.signs or self.only_signs
            memory.register(EncoderColumns(key, encoder.modality, encoder.width, self.prefix, signs, self.only_signs))
        count = remember(memory, self.source, encoders, progress=True)
        print(f"{self.memory}: {count} frames added, {memory.count(FRAMES)} in all; encoders {', '.join(encoders)}")


@dataclass(frozen=True)
class Search:
    """Find what is like a picture, a text, a JSON value, or another row.

    Attributes:
        memory: directory or address of the memory.
        encoder: directory of the encoder that the memory was made with; not needed with `--like`.
        image: picture to look for.
        text: text to look for, with an encoder of pictures and texts.
        state: JSON to look for, or a file of it.
        like: id of a row to look for.
        key: of the encoder, with `--like`.
        episodes: look for episodes, not for frames.
        where: which rows.
        options: how.
        html: page of the hits to write.
        json: print hits as JSON.
    """

    memory: Memory
    encoder: Path | None = None
    image: Path | None = None
    text: str = ""
    state: str = ""
    like: str = ""
    key: str = ""
    episodes: bool = False
    where: Filter = field(default_factory=Filter)
    options: Annotated[SearchOptions, tyro.conf.arg(name="")] = field(default_factory=SearchOptions)
    html: Path | None = None
    json: bool = False

    def run(self) -> None:
        """Print what is found."""
        kind = queries.asked({"image": self.image, "text": self.text, "state": self.state, "like": self.like})
        memory = EpisodeMemory(self.memory)
        table = EPISODES if self.episodes else FRAMES
        key, query = self._query(kind, memory, table)
        hits = memory.search(table, key, query, self.options, self.where)
        if self.html is not None:
            write_hits_page(self.html, f"{kind}: {getattr(self, kind)}", hits)
        if self.json:
            print(json.dumps([{"id": hit.row.id, "similarity": hit.similarity, **asdict(hit.row)} for hit in hits]))
            return
        for hit in hits:
            row = hit.row
            print(
                f"{hit.similarity:7.4f}  {row.id}  {row.source}  episode {row.episode}  frame {row.frame}  {row.task}"
            )

    def _query(self, kind: str, memory: EpisodeMemory, table: str) -> tuple[str, NDArray[np.float32]]:
        if kind == "like":
            rows, vectors = memory.vectors(table, self.key, Filter(ids=(self.like,)))
            if not rows:
                raise ValueError(f"--like: expected a row with a vector of {self.key}, found none of id {self.like}")
            return self.key, vectors[0]
        if self.encoder is None:
            raise ValueError("--encoder: expected the encoder that the memory was made with, found none")
        encoder = load_encoder(self.encoder)
        key = encoder_key(self.encoder)
        if kind == "image":
            return key, queries.picture_vector(encoder, queries.read_picture(self.image))
        if kind == "text":
            return key, queries.text_vector(encoder, self.text)
        return key, queries.state_vector(encoder, _state(self.state))


@dataclass(frozen=True)
class Show:
    """Tell what a memory holds, or all of one row.

    Attributes:
        memory: directory or address of the memory.
        id: of a row.
    """

    memory: Memory
    id: str = ""

    def run(self) -> None:
        """Print it."""
        memory = EpisodeMemory(self.memory)
        if self.id:
            rows = [row for table in TABLES for row in memory.rows(table, Filter(ids=(self.id,)))]
            if not rows:
                raise ValueError(f"--id: expected a row of {self.memory}, found none of id {self.id!r}")
            print("\n".join(f"{name:<8}{value}" for row in rows for name, value in asdict(row).items()))
            return
        print(f"{self.memory}: {memory.size() / 1e6:.1f} MB")
        for table in TABLES:
            print(f"{table}: {memory.count(table)}")
            for key, encoder in memory.encoders(table).items():
                parts = [f"{encoder.width} numbers of {encoder.modality}"]
                parts += (
                    [f"prefix {encoder.prefix}"] * bool(encoder.prefix)
                    + ["signs"] * encoder.signs
                    + ["no more"] * encoder.only_signs
                )
                print(f"  {key}: {memory.count(table, key=key)} vectors, {', '.join(parts)}")
        sources: dict[tuple[str, str], int] = {}
        for row in memory.rows(EPISODES):
            sources[row.source, row.camera] = sources.get((row.source, row.camera), 0) + 1
        for (source, camera), count in sorted(sources.items()):
            print(f"  {source} {camera}: {count} episodes")


@dataclass(frozen=True)
class Index:
    """Make searches of large memories faster.

    Attributes:
        memory: directory or address of the memory.
        key: of the encoder.
        mode: of the searches.
        episodes: of episodes, not of frames.
    """

    memory: Memory
    key: str
    mode: Mode = "funnel"
    episodes: bool = False

    def run(self) -> None:
        """Build the index."""
        table = EPISODES if self.episodes else FRAMES
        EpisodeMemory(self.memory).index(table, self.key, self.mode)
        print(f"{self.memory}: {table}: {self.key} is indexed for {self.mode}")


@dataclass(frozen=True)
class Delete:
    """Delete rows.

    Attributes:
        memory: directory or address of the memory.
        where: which ones; at least one condition.
    """

    memory: Memory
    where: Filter

    def run(self) -> None:
        """Delete them."""
        print(f"{self.memory}: {EpisodeMemory(self.memory).delete(self.where)} rows deleted")


@dataclass(frozen=True)
class Forget:
    """Drop the vectors of an encoder; the rows stay.

    Attributes:
        memory: directory or address of the memory.
        key: of the encoder.
    """

    memory: Memory
    key: str

    def run(self) -> None:
        """Drop them."""
        EpisodeMemory(self.memory).forget(self.key)
        print(f"{self.memory}: holds no vectors of {self.key} any more")


@dataclass(frozen=True)
class Compact:
    """Join small files and drop what only old versions hold.

    Attributes:
        memory: directory or address of the memory.
        keep_min: minutes; versions as young stay, for who reads them now.
    """

    memory: Memory
    keep_min: float = 60.0

    def run(self) -> None:
        """Compact both tables."""
        if not self.keep_min >= 1:
            raise ValueError(f"--keep-min: expected at least 1, found {self.keep_min}")
        EpisodeMemory(self.memory).compact(timedelta(minutes=self.keep_min))
        print(f"{self.memory}: compacted")


@dataclass(frozen=True)
class Export:
    """Write both tables as parquet files.

    Attributes:
        memory: directory or address of the memory.
        output: directory that gets them.
    """

    memory: Memory
    output: Path

    def run(self) -> None:
        """Write them."""
        counts = export(EpisodeMemory(self.memory), self.output, progress=True)
        print(f"{self.output}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))


@dataclass(frozen=True)
class Repair:
    """Fill in what something hid in a frame, and write the picture; for bits of `binary_latent_diffusion`.

    Attributes:
        memory: directory or address of the memory.
        prior: directory of the run that trained the prior over the bits.
        id: of the frame.
        mask: picture, white where the frame is hidden; brought to the frame's size.
        output: picture to write.
        grow: places of bits around the hidden part that are filled in too.
        steps: of the prior's chain.
        temperature: below 1, what is likely becomes more so.
        seed: of what is drawn.
    """

    memory: Memory
    prior: Path
    id: str
    mask: Path
    output: Path
    grow: int = 1
    steps: int = 16
    temperature: float = 1.0
    seed: int = 0

    def run(self) -> None:
        """Write the picture."""
        encoder, memory = binary_frames.load_prior(self.prior), EpisodeMemory(self.memory)
        key = binary_frames.stored_key(memory, self.prior, encoder)
        mask = queries.read_picture(self.mask).mean(axis=2) > 127
        places = binary_frames.places_of(mask, encoder.config.grid, self.grow)
        _, bits = binary_frames.stored_bits(memory, key, encoder, Filter(ids=(self.id,)), 1)
        found = binary_frames.repaired(encoder, bits, places, self.steps, self.temperature, self.seed)
        write_picture(self.output, encoder.autoencoder.decode(found)[0])
        print(f"{self.output}: {self.id}, {int(places.sum())} of {places.size} places filled in")


@dataclass(frozen=True)
class Alarm:
    """Tell pictures that are unlike what was seen before; for bits of `binary_latent_diffusion`.

    Attributes:
        memory: directory or address of the memory, whose frames say what is usual.
        prior: directory of the run that trained the prior over the bits, best on other frames than the memory's.
        images: pictures to judge.
        rate: share of usual frames at most that give an alarm.
        where: which frames are usual.
        frames: at most so many of them are looked at.
        steps: of the prior's chain.
        seed: of its noise, and of the choice of frames.
    """

    memory: Memory
    prior: Path
    images: tuple[Path, ...]
    rate: float = 0.05
    where: Filter = field(default_factory=Filter)
    frames: int = 500
    steps: int = 16
    seed: int = 0

    def run(self) -> None:
        """Print how surprising each picture is."""
        encoder, memory = binary_frames.load_prior(self.prior), EpisodeMemory(self.memory)
        key = binary_frames.stored_key(memory, self.prior, encoder)
        rows, known = binary_frames.stored_bits(memory, key, encoder, self.where, self.frames, self.seed)
        usual = binary_frames.surprise(encoder, known, self.steps, self.seed)
        threshold = binary_frames.alarm_threshold(usual, self.rate)
        print(f"more than {threshold:.1f} nats is an alarm: {self.rate:g} of what is like {len(rows)} frames")
        for path in self.images:
            bits = encoder.bits(queries.as_inputs(queries.read_picture(path)))
            found = float(binary_frames.surprise(encoder, bits, self.steps, self.seed)[0])
            print(f"{'ALARM' if found > threshold else 'usual'}  {found:8.1f}  {path}")


VERBS = (Add, Search, Show, Index, Delete, Forget, Compact, Export, Repair, Alarm)


def _state(text: str) -> Any:
    """A JSON value, or the content of a file of one."""
    content = Path(text).read_text(encoding="utf-8") if text.endswith(".json") else text
    try:
        return json.loads(content)
    except ValueError as error:
        raise ValueError(f"--state: expected JSON, found {content[:200]!r}: {error}") from error


def main(args: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit code."""
    verbs = {verb.__name__.lower(): verb for verb in VERBS}
    command: Any = tyro.extras.subcommand_cli_from_dict(verbs, args=args, prog="python -m representation.memory")
    try:
        command.run()
    except (OSError, ValueError, TypeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
