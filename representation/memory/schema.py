"""What a memory holds: rows of frames and of episodes, and for each encoder the columns of its vectors.

Both tables have the same columns. The vectors of an encoder stand in `vector_KEY`; a prefix to search with first in
`prefix_KEY`, and the signs of the numbers, eight a byte, in `signs_KEY`, where the encoder was registered with them.
They may be all that is kept, of an encoder whose vectors are bits.
What a column is stands in its own metadata, so that both come in one commit.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

FRAMES, EPISODES = "frames", "episodes"
TABLES = (FRAMES, EPISODES)
MAX_WIDTH = 65536
_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")
_ABOUT = b"encoder"
# Vectors are noise to a compressor: it would cost time and save nothing.
_PLAIN = {b"lance-encoding:compression": b"none"}


@dataclass(frozen=True, slots=True)
class Row:
    """A frame or an episode, and where it came from.

    Attributes:
        source: path of the dataset or bag.
        camera: its name; empty where there is one only.
        episode: number of the episode; of what is seen live, the nanoseconds of its first frame.
        frame: number in the episode; of what is seen live, its stamp in nanoseconds; 0 for an episode.
        time: seconds since the episode began; of what is seen live, its stamp.
        length: frames; 1 for a frame.
        task: what is being done.
        state: what else is known, as JSON; empty if nothing is.
    """

    source: str
    camera: str
    episode: int
    frame: int
    time: float
    length: int = 1
    task: str = ""
    state: str = ""

    @property
    def id(self) -> str:
        """Names the row: the same frame of the same source always has the same."""
        text = json.dumps([self.source, self.camera, self.episode, self.frame])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


ROW_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string()),
        pa.field("camera", pa.string()),
        pa.field("episode", pa.int64()),
        pa.field("frame", pa.int64()),
        pa.field("time", pa.float64()),
        pa.field("length", pa.int64()),
        pa.field("task", pa.string()),
        pa.field("state", pa.string()),
    ]
)
ROW_COLUMNS = tuple(field.name for field in fields(Row))


@dataclass(frozen=True, slots=True)
class EncoderColumns:
    """The columns of an encoder.

    Attributes:
        key: name of the encoder and its version, such as `clip_1f0c2a9b`.
        modality: what it takes.
        width: numbers of a vector.
        prefix: numbers that a search may begin with; 0 keeps none.
        signs: whether the signs of the numbers are kept.
        only_signs: whether they are all that is kept.
    """

    key: str
    modality: str
    width: int
    prefix: int = 0
    signs: bool = False
    only_signs: bool = False

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise ValueError(f"encoder: expected a key of small letters, digits and '_', found {self.key!r}")
        if not 1 <= self.width <= MAX_WIDTH:
            raise ValueError(f"{self.key}: width: expected 1 to {MAX_WIDTH}, found {self.width}")
        if not 0 <= self.prefix < self.width:
            raise ValueError(f"{self.key}: prefix: expected 0 to {self.width - 1}, found {self.prefix}")
        if self.signs and self.width % 8:
            raise ValueError(f"{self.key}: signs: expected a width that 8 divides, found {self.width}")
        if self.only_signs and (self.prefix or not self.signs):
            raise ValueError(f"{self.key}: only_signs: expected signs and no prefix, found {self}")

    @property
    def first_column(self) -> str:
        """Name of the column that every row with a vector has."""
        return self.column("signs" if self.only_signs else "vector")

    def column(self, part: str) -> str:
        """Name of the column of a part: `vector`, `prefix` or `signs`."""
        return f"{part}_{self.key}"

    def schema(self) -> pa.Schema:
        """The columns, empty at first."""
        columns = []
        if not self.only_signs:
            columns.append(pa.field(self.column("vector"), pa.list_(pa.float32(), self.width), metadata=_PLAIN))
        if self.prefix:
            columns.append(pa.field(self.column("prefix"), pa.list_(pa.float32(), self.prefix), metadata=_PLAIN))
        if self.signs:
            columns.append(pa.field(self.column("signs"), pa.list_(pa.uint8(), self.width // 8), metadata=_PLAIN))
        about = {_ABOUT: json.dumps(asdict(self)).encode(), **_PLAIN}
        return pa.schema([columns[0].with_metadata(about), *columns[1:]])

    def arrays(self, vectors: NDArray) -> dict[str, pa.Array]:
        """The columns of vectors (N, D).

        Raises:
            ValueError: another width, or vectors without a direction.
        """
        vectors = self.checked(vectors)
        arrays = {} if self.only_signs else {self.column("vector"): _lists(vectors)}
        if self.prefix:
            arrays[self.column("prefix")] = _lists(vectors[:, : self.prefix])
        if self.signs:
            arrays[self.column("signs")] = _lists(sign_codes(vectors))
        return arrays

    def vectors(self, values: pa.FixedSizeListArray) -> NDArray[np.float32]:
        """Vectors (N, D) of what `first_column` holds; of signs alone, -1 and 1."""
        found = values.flatten().to_numpy()
        if not self.only_signs:
            return found.reshape(-1, self.width)
        return 2 * np.unpackbits(found).reshape(-1, self.width).astype(np.float32) - 1

    def checked(self, vectors: NDArray) -> NDArray[np.float32]:
        """Vectors (N, D) float32.

        Raises:
            ValueError: see `arrays`.
        """
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.width:
            raise ValueError(f"{self.key}: vectors: expected (N, {self.width}), found {vectors.shape}")
        # A sum is finite only where all numbers are; of an empty direction cosines say nothing.
        bad = ~np.isfinite(vectors.sum(axis=1)) | ~vectors[:, : self.prefix or self.width].any(axis=1)
        if bad.any():
            raise ValueError(
                f"{self.key}: vectors: expected finite numbers that are not all 0, found others in {int(bad.sum())}"
            )
        return vectors


def sign_codes(vectors: NDArray) -> NDArray[np.uint8]:
    """The signs (N, D / 8) of vectors (N, D), a bit each."""
    return np.packbits(vectors > 0, axis=1)


def encoders_of(schema: pa.Schema) -> dict[str, EncoderColumns]:
    """The encoders whose vectors a table holds, by key.

    Raises:
        ValueError: the metadata of a column does not tell.
    """
    found = {}
    for field in schema:
        about = (field.metadata or {}).get(_ABOUT)
        if about is not None:
            try:
                columns = EncoderColumns(**json.loads(about))
            except (TypeError, ValueError) as error:
                raise ValueError(f"column {field.name}: expected an encoder in its metadata: {error}") from error
            found[columns.key] = columns
    return found


def row_table(rows: Sequence[Row], vectors: Mapping[EncoderColumns, NDArray]) -> pa.Table:
    """Rows with the vectors of some encoders."""
    columns = {"id": [row.id for row in rows]} | {name: [getattr(row, name) for row in rows] for name in ROW_COLUMNS}
    table = pa.table(columns, schema=ROW_SCHEMA)
    for encoder, values in vectors.items():
        if len(values) != len(rows):
            raise ValueError(f"{encoder.key}: vectors: expected {len(rows)}, one for each row, found {len(values)}")
        for name, array in encoder.arrays(values).items():
            table = table.append_column(encoder.schema().field(name), array)
    return table


def _lists(values: NDArray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1])
