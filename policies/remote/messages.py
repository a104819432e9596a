"""What requests and replies say, as frames: the schema of the protocol. Change `VERSION` with it.

| kind        | direction | fields                                        | arrays                              |
|-------------|-----------|-----------------------------------------------|-------------------------------------|
| `welcome`   | to client | those of `Description`                        | `max_step` (6,), where there is one |
| `reset`     | to server | `seed`                                        |                                     |
| `act`       | to server | `observation`                                 | of the observation                  |
| `act_on`    | to server | `observation`, `continuation`                 | of the observation                  |
| `act_batch` | to server | `observations`                                | of the observations, one by one     |
| `done`      | to client |                                               |                                     |
| `chunks`    | to client | `chunks`                                      | of the chunks, one by one           |
| `error`     | to client | `error`, `message`                            |                                     |

Arrays of an observation: joint positions and velocities (n,) float64, of each camera depth (H, W) float32, colour
(H, W, 3) uint8 or the bytes (n,) of a file, intrinsics (3, 3) and base_from_camera (4, 4) float64, and of the readings
since the observation before stamps (M,) and positions (M, n) float64; then, of each camera in `earlier`, the colour of
one control step before. Those of a chunk: rows (T, n) and, where it has them, confidence (T,) and log-probabilities of
tokens (T, 3), float64. All functions that read raise a ValueError that names what was expected and found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from policies.interface import (
    TOKEN_KINDS,
    ActionChunk,
    CameraView,
    ChunkKind,
    Continuation,
    ContinuationMethod,
    GuidanceJacobian,
    JointReadings,
    Observation,
    OverlapSchedule,
)
from policies.remote.address import COMPRESSIONS, Compression
from policies.remote.frames import Frame, take
from policies.remote.pictures import compress, decompress

VERSION = 3
SUBPROTOCOL = f"polyarm.policy.v{VERSION}"
PING_INTERVAL_S = 2.0
"""Both sides ask each other whether they are there; who does not answer for as long again is lost."""
CLOSE_LIMIT_S = 1.0

MAX_TEXT = 4096  # characters of an instruction or of an error
MAX_NAME = 256  # characters of a name
MAX_NAMES = 256
MAX_CAMERAS = 16
MAX_BATCH = 64
MAX_ROWS = 4096
MAX_COLUMNS = 256  # joints of a robot, and numbers of a row
MAX_HZ = 10_000.0

ErrorKind = Literal["malformed", "busy", "refused", "failed"]
"""A message that cannot be read; no policy free; an observation that the policy refuses; the policy itself failed."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a server offers.

    Attributes:
        policy: its name on the server.
        sha256: of its files, as hexadecimal; empty for a policy without weights.
        robot: name of the robot that it was trained for.
        cameras: names of the views that it reads.
        control_hz: rate of the rows of its chunks.
        chunk_length: rows of a chunk.
        instructions: the only ones that it understands; empty for any.
        continues: whether its chunks can go on with the one before.
        looks_back: whether it looks at pictures of one control step before each observation too.
    """

    policy: str
    sha256: str
    robot: str
    cameras: tuple[str, ...]
    control_hz: float
    chunk_length: int
    instructions: tuple[str, ...] = ()
    continues: bool = False
    looks_back: bool = False


class _Arrays:
    """Hands out the arrays of a frame in their order, each checked."""

    def __init__(self, frame: Frame) -> None:
        self._rest = list(frame.arrays)

    def take(self, name: str, dtype: str, shape: tuple[int | None, ...]) -> NDArray:
        if not self._rest:
            raise ValueError(f"{name}: expected an array, found none")
        array = self._rest.pop(0)
        fits = array.ndim == len(shape) and all(w in (None, h) for w, h in zip(shape, array.shape, strict=True))
        if array.dtype.str != dtype or not fits:
            raise ValueError(f"{name}: expected {dtype} {shape} (None = any), found {array.dtype.str} {array.shape}")
        return array

    def end(self) -> None:
        if self._rest:
            raise ValueError(f"arrays: expected no more, found {len(self._rest)}")


def _text(fields: Mapping[str, Any], name: str, limit: int = MAX_NAME) -> str:
    """A string of at most `limit` characters."""
    value = take(fields, name, str)
    if len(value) > limit:
        raise ValueError(f"{name}: expected at most {limit} characters, found {len(value)}")
    return value


def _number(fields: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value = take(fields, name, int)
    if not low <= value <= high:
        raise ValueError(f"{name}: expected {low} to {high}, found {value}")
    return value


def _texts(fields: Mapping[str, Any], name: str, most: int, limit: int = MAX_NAME) -> tuple[str, ...]:
    values = take(fields, name, list)
    if len(values) > most:
        raise ValueError(f"{name}: expected at most {most}, found {len(values)}")
    return tuple(_text({name: value}, name, limit) for value in values)


def _choice(fields: Mapping[str, Any], name: str, choices: Sequence[str]) -> Any:
    value = take(fields, name, str)
    if value not in choices:
        raise ValueError(f"{name}: expected one of {list(choices)}, found {value!r:.40}")
    return value


def _maps(fields: Mapping[str, Any], name: str, most: int) -> list[dict[str, Any]]:
    values = take(fields, name, list)
    if len(values) > most:
        raise ValueError(f"{name}: expected at most {most}, found {len(values)}")
    return [take({name: value}, name, dict) for value in values]


def _exactly(fields: Mapping[str, Any], *names: str) -> None:
    """Refuse fields that are not among `names`: a peer that says more than it should is not understood."""
    unknown = set(fields) - set(names)
    if unknown:
        raise ValueError(f"fields: expected {sorted(names)}, found also {sorted(map(str, unknown))[:5]}")


def welcome_frame(description: Description, max_step: NDArray[np.float64] | None) -> Frame:
    """Greet a client; `max_step` (6,) as `policies.execution.plausibility` takes it."""
    fields = asdict(description) | {
        "cameras": list(description.cameras),
        "instructions": list(description.instructions),
    }
    return Frame("welcome", 0, fields, [] if max_step is None else [np.asarray(max_step, np.float64)])


def read_welcome(frame: Frame) -> tuple[Description, NDArray[np.float64] | None]:
    """What `welcome_frame` was given."""
    fields, arrays = frame.fields, _Arrays(frame)
    if frame.kind != "welcome":
        raise ValueError(f"kind: expected welcome, found {frame.kind!r:.40}")
    _exactly(fields, *Description.__slots__)
    control_hz = take(fields, "control_hz", float)
    if not 0 < control_hz <= MAX_HZ:
        raise ValueError(f"control_hz: expected above 0 and at most {MAX_HZ}, found {control_hz}")
    description = Description(
        _text(fields, "policy", MAX_TEXT),
        _text(fields, "sha256"),
        _text(fields, "robot"),
        _texts(fields, "cameras", MAX_CAMERAS),
        control_hz,
        _number(fields, "chunk_length", 1, MAX_ROWS),
        _texts(fields, "instructions", MAX_NAMES, MAX_TEXT),
        take(fields, "continues", bool),
        take(fields, "looks_back", bool),
    )
    max_step = arrays.take("max_step", "<f8", (6,)) if frame.arrays else None
    arrays.end()
    return description, max_step


def _observations_fields(
    observations: Sequence[Observation], compression: Compression
) -> tuple[list[dict], list[NDArray]]:
    """Fields and arrays of observations; see `_read_observations`."""
    fields: list[dict[str, Any]] = []
    arrays: list[NDArray] = []
    for observation in observations:
        fields.append(
            {
                "stamp": float(observation.stamp),
                "instruction": observation.instruction,
                "cameras": list(observation.cameras),
                "earlier": list(observation.earlier),
                "compression": compression,
            }
        )
        arrays += [observation.joint_positions, observation.joint_velocities]
        for view in observation.cameras.values():
            arrays += [view.depth, compress(view.rgb, compression), view.intrinsics, view.base_from_camera]
        readings = observation.readings or JointReadings(np.empty(0), np.empty((0, len(observation.joint_positions))))
        arrays += [readings.stamps, readings.positions]
        arrays += [compress(rgb, compression) for rgb in observation.earlier.values()]
    return fields, arrays


def _read_observations(frame: Frame, fields: Sequence[Mapping[str, Any]]) -> list[Observation]:
    """Observations from their fields and all the arrays of a frame."""
    arrays = _Arrays(frame)
    observations = [_observation(entry, arrays) for entry in fields]
    arrays.end()
    return observations


def _observation(fields: Mapping[str, Any], arrays: _Arrays) -> Observation:
    _exactly(fields, "stamp", "instruction", "cameras", "earlier", "compression")
    names = _texts(fields, "cameras", MAX_CAMERAS)
    if len(set(names)) != len(names):
        raise ValueError(f"cameras: expected different names, found {list(names)}")
    before = _texts(fields, "earlier", MAX_CAMERAS)
    if len(set(before)) != len(before) or not set(before) <= set(names):
        raise ValueError(f"earlier: expected different ones of {list(names)}, found {list(before)}")
    compression = _choice(fields, "compression", COMPRESSIONS)
    positions = arrays.take("joint_positions", "<f8", (None,))
    if len(positions) > MAX_COLUMNS:
        raise ValueError(f"joint_positions: expected at most {MAX_COLUMNS}, found {len(positions)}")
    velocities = arrays.take("joint_velocities", "<f8", positions.shape)
    cameras = {name: _view(name, compression, arrays) for name in names}
    stamps = arrays.take("readings: stamps", "<f8", (None,))
    readings = JointReadings(stamps, arrays.take("readings: positions", "<f8", (len(stamps), len(positions))))
    earlier = {name: _picture(f"{name}/earlier", cameras[name].depth.shape, compression, arrays) for name in before}
    stamp, instruction = take(fields, "stamp", float), _text(fields, "instruction", MAX_TEXT)
    return Observation(stamp, cameras, positions, velocities, instruction, readings if len(stamps) else None, earlier)


def _view(name: str, compression: Compression, arrays: _Arrays) -> CameraView:
    depth = arrays.take(f"{name}/depth", "<f4", (None, None))
    rgb = _picture(f"{name}/rgb", depth.shape, compression, arrays)
    intrinsics = arrays.take(f"{name}/intrinsics", "<f8", (3, 3))
    return CameraView(rgb, depth, intrinsics, arrays.take(f"{name}/base_from_camera", "<f8", (4, 4)))


def _picture(name: str, size: tuple[int, int], compression: Compression, arrays: _Arrays) -> NDArray[np.uint8]:
    data = arrays.take(name, "|u1", (*size, 3) if compression == "raw" else (None,))
    return decompress(data, compression, size)


def request_frame(
    request: int,
    observations: Sequence[Observation],
    compression: Compression = "raw",
    batch: bool = False,
    continuation: Continuation | None = None,
) -> Frame:
    """Ask for the answers to observations: to one, to one that goes on with the chunk before, or to a batch."""
    entries, arrays = _observations_fields(observations, compression)
    if batch:
        return Frame("act_batch", request, {"observations": entries}, arrays)
    (entry,) = entries
    if continuation is None:
        return Frame("act", request, {"observation": entry}, arrays)
    return Frame("act_on", request, {"observation": entry, "continuation": asdict(continuation)}, arrays)


def read_request(frame: Frame) -> tuple[list[Observation], Continuation | None]:
    """The observations of `act`, `act_on` or `act_batch`, and how to go on."""
    if frame.kind == "act_batch":
        _exactly(frame.fields, "observations")
        return _read_observations(frame, _maps(frame.fields, "observations", MAX_BATCH)), None
    _exactly(frame.fields, "observation", *(["continuation"] if frame.kind == "act_on" else []))
    observations = _read_observations(frame, [take(frame.fields, "observation", dict)])
    return observations, _continuation(take(frame.fields, "continuation", dict)) if frame.kind == "act_on" else None


def _continuation(fields: Mapping[str, Any]) -> Continuation:
    _exactly(fields, *Continuation.__slots__)
    return Continuation(
        _number(fields, "committed", 0, MAX_ROWS),
        _choice(fields, "method", get_args(ContinuationMethod)),
        take(fields, "beta", float),
        _choice(fields, "schedule", get_args(OverlapSchedule)),
        _choice(fields, "jacobian", get_args(GuidanceJacobian)),
        take(fields, "discarded", bool),
    )


def reset_frame(request: int, seed: int | None) -> Frame:
    """Begin an episode."""
    return Frame("reset", request, {"seed": seed})


def read_reset(frame: Frame) -> int | None:
    """The seed of `reset`."""
    _exactly(frame.fields, "seed")
    return None if "seed" in frame.fields and frame.fields["seed"] is None else _number(frame.fields, "seed", 0, 2**63)


def chunks_frame(request: int, chunks: Sequence[ActionChunk]) -> Frame:
    """Answer with chunks."""
    fields: list[dict[str, Any]] = []
    arrays: list[NDArray] = []
    for chunk in chunks:
        fields.append(
            {
                "stamp": float(chunk.stamp),
                "dt": float(chunk.dt),
                "kind": chunk.kind,
                "committed": chunk.committed,
                "confident": chunk.confidence is not None,
                "tokens": chunk.token_log_probs is not None,
            }
        )
        measures = [chunk.confidence, chunk.token_log_probs]
        arrays += [chunk.rows, *(np.asarray(measure, np.float64) for measure in measures if measure is not None)]
    return Frame("chunks", request, {"chunks": fields}, arrays)


def read_chunks(frame: Frame) -> list[ActionChunk]:
    """The chunks of `chunks`."""
    _exactly(frame.fields, "chunks")
    arrays = _Arrays(frame)
    chunks = [_chunk(entry, arrays) for entry in _maps(frame.fields, "chunks", MAX_BATCH)]
    arrays.end()
    return chunks


def _chunk(fields: Mapping[str, Any], arrays: _Arrays) -> ActionChunk:
    _exactly(fields, "stamp", "dt", "kind", "committed", "confident", "tokens")
    rows = arrays.take("rows", "<f8", (None, None))
    if rows.shape[0] > MAX_ROWS or rows.shape[1] > MAX_COLUMNS:
        raise ValueError(f"rows: expected at most {(MAX_ROWS, MAX_COLUMNS)}, found {rows.shape}")
    confidence = arrays.take("confidence", "<f8", (len(rows),)) if take(fields, "confident", bool) else None
    shape = (len(rows), len(TOKEN_KINDS))
    log_probs = arrays.take("token_log_probs", "<f8", shape) if take(fields, "tokens", bool) else None
    kind = _choice(fields, "kind", get_args(ChunkKind))
    committed = _number(fields, "committed", 0, len(rows))
    stamp, dt = take(fields, "stamp", float), take(fields, "dt", float)
    return ActionChunk(stamp, dt, kind, rows, confidence, committed=committed, token_log_probs=log_probs)


def error_frame(request: int, error: ErrorKind, message: str) -> Frame:
    """Say why there is no answer."""
    return Frame("error", request, {"error": error, "message": message[:MAX_TEXT]})


def read_error(frame: Frame) -> tuple[ErrorKind, str]:
    """What `error_frame` was given."""
    _exactly(frame.fields, "error", "message")
    return _choice(frame.fields, "error", get_args(ErrorKind)), _text(frame.fields, "message", MAX_TEXT)
