"""What the tests of remote policies share: observations, a policy that breaks on demand, and damaged messages."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np

from policies.interface import ActionChunk, CameraView, Continuation, Observation
from policies.remote.session import PolicyPool
from policies.robots import get_robot

SPEC = get_robot("panda")
SIZE = (12, 16)
TOKEN = "correct-horse-battery-staple"


def observation(
    seed: int = 0, cameras: Sequence[str] = ("front", "wrist"), size: tuple[int, int] = SIZE
) -> Observation:
    """An observation of random content; a part of the depth is unknown."""
    rng = np.random.default_rng(seed)

    def view() -> CameraView:
        depth = rng.uniform(0.1, 2.0, size).astype(np.float32)
        depth[rng.random(size) < 0.3] = np.nan
        intrinsics = np.array([[20.5, 0, size[1] / 2], [0, 20.25, size[0] / 2], [0, 0, 1]])
        return CameraView(rng.integers(0, 256, (*size, 3), np.uint8), depth, intrinsics, rng.normal(size=(4, 4)))

    joints = len(SPEC.joint_names)
    return Observation(
        float(rng.random()), {name: view() for name in cameras}, SPEC.home, rng.normal(size=joints), "stack the ümlaut"
    )


class Breaking:
    """Moves nothing, and breaks on demand.

    Attributes:
        error: raised by the next answer, if there is one.
        go: an answer waits for it.
        asked: set when an answer is asked for.
        seeds: of the resets so far.
        continuations: that it was asked to go on with.
    """

    robot, cameras, control_hz, chunk_length = "panda", ("front", "wrist"), 10.0, 4

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.go, self.asked = threading.Event(), threading.Event()
        self.go.set()
        self.seeds: list[int | None] = []
        self.continuations: list[Continuation] = []

    def reset(self, seed: int | None = None) -> None:
        self.seeds.append(seed)

    def act(self, observation: Observation) -> ActionChunk:
        self.asked.set()
        assert self.go.wait(30)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        rows = np.tile(observation.joint_positions, (self.chunk_length, 1))
        return ActionChunk(observation.stamp, 1 / self.control_hz, "joint", rows)

    def act_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        return [self.act(each) for each in observations]

    def act_on(self, observation: Observation, continuation: Continuation) -> ActionChunk:
        self.continuations.append(continuation)
        return self.act(observation)


def pool(*policies: object) -> PolicyPool:
    """A pool of policies; of one that moves nothing where none are given."""
    return PolicyPool(policies or [Breaking()], "breaking", None)


def damaged(data: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` messages that were made of one by what a network, or somebody with time, could do to it."""
    rng = np.random.default_rng(seed)
    header = 4 + int.from_bytes(data[:4], "little")
    for _ in range(count):
        message = bytearray(data)
        kind = rng.integers(5)
        if kind == 0:
            message = message[: rng.integers(len(message))]
        elif kind == 1:
            message += rng.bytes(int(rng.integers(1, 64)))
        elif kind == 2:
            place = int(rng.integers(header))
            message[place : place + 1] = rng.bytes(int(rng.integers(1, 6)))
        for _ in range(int(rng.integers(1, 4)) if kind > 2 else 0):
            message[rng.integers(header if kind == 3 else len(message))] = rng.integers(256)
        yield bytes(message)


def same(one: Observation, other: Observation) -> bool:
    """Whether two observations are equal to the bit."""
    views = zip(one.cameras.values(), other.cameras.values(), strict=True)
    return (
        (one.stamp, one.instruction, list(one.cameras)) == (other.stamp, other.instruction, list(other.cameras))
        and equal(one.joint_positions, other.joint_positions)
        and equal(one.joint_velocities, other.joint_velocities)
        and list(one.earlier) == list(other.earlier)
        and all(equal(rgb, other.earlier[name]) for name, rgb in one.earlier.items())
        and all(equal(getattr(a, name), getattr(b, name)) for a, b in views for name in type(a).__slots__)
    )


def equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays are equal to the bit."""
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
