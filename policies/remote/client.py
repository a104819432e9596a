"""`RemotePolicy`: a policy that runs in a `policies.server`, behind the same contract as one that runs here.

On any doubt it raises, and whoever steps it lets the arm hold: the network is lost, the answer is late or malformed or
answers something else, the server serves another policy than before. After that the episode is lost, because nobody
knows what the server's policy has seen: until `reset` it answers nothing. Only `reset` connects again.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence

from policies.interface import ActionChunk, Continuation, Observation
from policies.remote.address import Address
from policies.remote.frames import Frame
from policies.remote.link import Link
from policies.remote.messages import read_chunks, request_frame, reset_frame


def connect_policy(address: str) -> RemotePolicy:
    """The policy of a server.

    Raises:
        OSError: no server there, or none that lets us in within the limit: another token, another version.
        ValueError: not an address, or what is there is no policy server.
    """
    link = Link(Address.parse(address))
    return (ContinuingRemotePolicy if link.description.continues else RemotePolicy)(link)


def served_sha256(address: str) -> str | None:
    """SHA-256 of the policy that a server serves; None for one without weights. Raises as `connect_policy`."""
    link = Link(Address.parse(address))
    link.close()
    return link.description.sha256 or None


class RemotePolicy:
    """Answers by asking a server. Not thread-safe.

    Args:
        link: an open connection; `connect_policy` makes one.

    Attributes:
        robot: name of the robot that it was trained for.
        cameras: names of the views that it reads.
        control_hz: rate of the rows.
        chunk_length: rows of a chunk.
        instructions: the only ones that it understands; empty for any.
        looks_back: whether it looks at pictures of one control step before each observation too.
        max_step: (6,) largest translations (m) and rotations (rad) of a row, or None where the server does not say.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self.robot = link.description.robot
        self.cameras = link.description.cameras
        self.control_hz = link.description.control_hz
        self.chunk_length = link.description.chunk_length
        self.instructions = link.description.instructions
        self.looks_back = link.description.looks_back
        self.max_step = link.max_step
        # A server serves few clients at a time: a policy that nobody uses any more must not keep a place.
        self._finalizer = weakref.finalize(self, link.close)

    def reset(self, seed: int | None = None) -> None:
        """Forget the episode so far, on a new connection if the old one is lost.

        Raises:
            OSError: the server cannot be reached, is busy, or does not answer within the limit.
            ValueError: it is another server than before, or its answer cannot be understood.
        """
        self._link.begin()
        frame = self._link.ask(reset_frame(self._link.next_request(), seed))
        if frame.kind != "done":
            raise self._link.broken(ValueError(f"policy server: expected done, found {frame.kind!r:.40}"))

    def act(self, observation: Observation) -> ActionChunk:
        """Answer one observation.

        Raises:
            OSError: the server is lost, busy, or does not answer within the limit.
            ValueError: the policy refuses the observation, or the answer cannot be understood.
            RuntimeError: the policy failed on the server, or the episode was lost before: `reset` begins another.
        """
        request = request_frame(self._link.next_request(), [observation], self._link.images)
        return self._chunks([observation], request)[0]

    def act_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """Answer independent observations together; raises as `act`."""
        frame = request_frame(self._link.next_request(), observations, self._link.images, batch=True)
        return self._chunks(observations, frame)

    def close(self) -> None:
        """End the connection; `reset` opens another."""
        self._link.close()

    def _chunks(self, observations: Sequence[Observation], request: Frame) -> list[ActionChunk]:
        frame = self._link.ask(request)
        try:
            if frame.kind != "chunks":
                raise ValueError(f"kind: expected chunks, found {frame.kind!r:.40}")
            chunks = read_chunks(frame)
            stamps, found = [float(each.stamp) for each in observations], [chunk.stamp for chunk in chunks]
            if stamps != found:
                raise ValueError(f"chunks: expected the observations' stamps {stamps}, found {found}")
            if any(len(chunk.rows) != self.chunk_length for chunk in chunks):
                raise ValueError(f"chunks: expected {self.chunk_length} rows, found {[len(c.rows) for c in chunks]}")
        except ValueError as error:
            raise self._link.broken(ValueError(f"policy server: {error}")) from error
        return chunks


class ContinuingRemotePolicy(RemotePolicy):
    """A remote policy whose chunks can go on with the one before."""

    def act_on(self, observation: Observation, continuation: Continuation) -> ActionChunk:
        """Answer one observation so that the chunk goes on with the one before; raises as `act`."""
        request = request_frame(self._link.next_request(), [observation], self._link.images, continuation=continuation)
        return self._chunks([observation], request)[0]
