"""Runs gym-aloha for another process that asks for steps on standard input and gets states on standard output.

Run as a file by the Python of an environment that holds gym-aloha, so it imports nothing of ours. A message is two
lengths, a JSON header and arrays of numbers; nothing is pickled.

| request | values | arrays | answer |
|---|---|---|---|
| `reset` | `task`, `seed` | | a state |
| `step` | | `targets` (T, 14): one row for each environment step | a state |
| `look` | | | `picture` (480, 640, 3) of the camera `top` |

A state has the value `reward` (0 to 4, the largest since the last state) and the arrays `positions` and `velocities`
(14,), in rad, rad/s and normalised gripper units (0 closed, 1 open), and `objects` (7,) or (14,): position (m) and
quaternion (w, x, y, z) of cube, or of peg and socket, in gym-aloha's world. An answer `error` has the value `reason`.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, BinaryIO

import numpy as np

LARGEST_MESSAGE = 1 << 24
DTYPES = ("<f8", "|u1")
HEIGHT, WIDTH, CAMERA = 480, 640, "top"
SUCCESS = 4
_LENGTHS = struct.Struct("<II")  # of header and arrays, bytes


@dataclass(frozen=True)
class Message:
    """One request or answer.

    Attributes:
        kind: what it is.
        values: JSON values by name.
        arrays: float64 or uint8 arrays by name.
    """

    kind: str
    values: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def write_message(stream: BinaryIO, message: Message) -> None:
    """Write a message and flush."""
    arrays = {name: np.ascontiguousarray(array) for name, array in message.arrays.items()}
    shapes = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    header = json.dumps({"kind": message.kind, "values": message.values, "arrays": shapes}).encode()
    body = b"".join(array.tobytes() for array in arrays.values())
    stream.write(_LENGTHS.pack(len(header), len(body)) + header + body)
    stream.flush()


def read_message(stream: BinaryIO) -> Message:
    """Read a message.

    Raises:
        EOFError: the other side has ended.
        ValueError: not a message, or a larger one than `LARGEST_MESSAGE`.
    """
    header_length, body_length = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    if header_length + body_length > LARGEST_MESSAGE:
        raise ValueError(f"message: expected at most {LARGEST_MESSAGE} bytes, found {header_length + body_length}")
    header, body = json.loads(_exactly(stream, header_length)), _exactly(stream, body_length)
    arrays, place = {}, 0
    for name, dtype, shape in header["arrays"]:
        if dtype not in DTYPES or any(not isinstance(size, int) or size < 0 for size in shape):
            raise ValueError(f"message: array {name!r}: expected one of {DTYPES}, found {dtype!r} of shape {shape}")
        count = int(np.prod(shape, dtype=object))
        arrays[name] = np.frombuffer(body, dtype, count, place).reshape(shape)
        place += arrays[name].nbytes
    if place != body_length:
        raise ValueError(f"message: expected {place} bytes of arrays, found {body_length}")
    return Message(header["kind"], header["values"], arrays)


def _exactly(stream: BinaryIO, count: int) -> bytes:
    found = stream.read(count)
    if len(found) < count:
        raise EOFError(f"message: expected {count} bytes, found the end after {len(found)}")
    return found


class Server:
    """Holds the environment of the present task."""

    def __init__(self) -> None:
        self._name = ""
        self._env: Any = None

    def answer(self, request: Message) -> Message:
        """Do what a request asks for.

        Raises:
            ValueError: an unknown request, or one before the first reset.
        """
        if request.kind == "reset":
            return self._reset(str(request.values["task"]), int(request.values["seed"]))
        if self._env is None:
            raise ValueError(f"request {request.kind!r}: expected a reset first")
        if request.kind == "step":
            return self._step(request.arrays["targets"])
        if request.kind == "look":
            picture = self._env._env.physics.render(height=HEIGHT, width=WIDTH, camera_id=CAMERA)
            return Message("picture", {}, {"picture": picture})
        raise ValueError(f"request: expected reset, step or look, found {request.kind!r}")

    def _reset(self, name: str, seed: int) -> Message:
        if name != self._name:
            aloha = import_module("gym_aloha.env")
            self._env, self._name = aloha.AlohaEnv(name, obs_type="pixels_agent_pos"), name
            # By itself it renders three pictures at every step, looked at or not; `look` takes the one that is wanted.
            self._env._env.task.get_observation = self._without_pictures
        self._env.reset(seed=seed)
        return self._state(0.0)

    def _step(self, targets: np.ndarray) -> Message:
        if targets.ndim != 2 or targets.shape[1] != 14 or not np.isfinite(targets).all():
            raise ValueError(f"targets: expected finite (T, 14), found shape {targets.shape}")
        best = 0.0
        for target in targets:
            best = max(best, float(self._env.step(target)[1]))
            if best == SUCCESS:
                break
        return self._state(best)

    def _without_pictures(self, physics: Any) -> dict[str, Any]:
        nothing = np.zeros((0, 0, 3), np.uint8)
        return {"qpos": self._env._env.task.get_qpos(physics), "images": {CAMERA: nothing}}

    def _state(self, reward: float) -> Message:
        task, physics = self._env._env.task, self._env._env.physics
        arrays = {
            "positions": task.get_qpos(physics),
            "velocities": task.get_qvel(physics),
            "objects": task.get_env_state(physics),
        }
        return Message("state", {"reward": reward}, arrays)


def main() -> None:
    """Answer requests until standard input ends."""
    # What others print must not come between the messages.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    server = Server()
    while True:
        try:
            request = read_message(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = server.answer(request)
        except Exception as error:
            answer = Message("error", {"reason": f"{type(error).__name__}: {error}"})
        write_message(answers, answer)


if __name__ == "__main__":
    main()
