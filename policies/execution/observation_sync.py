"""`ObservationSynchronizer`: joins images, calibrations and joint states into one `Observation` by their stamps.

Messages of different topics come in any order and with gaps. The newest image of the first camera for which every other
stream has a message within `max_skew_s` makes an observation; what it used, and all that is older, is forgotten. Stamps
that jump back (a simulator was reset, a recording starts again) empty the buffers of everything from the future.

For a policy that can do without some of its cameras, a camera that has not come for `max_age_s` is left out of the
observations until it comes again, as long as another one comes.

For a policy that looks back, an observation also carries each camera's colour picture of one control step before,
whether that one was part of an observation or not.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.execution.earlier_pictures import EarlierPictures
from policies.interface import CameraView, Observation
from representation.data.camera_messages import metres

JOINTS = "joint_states"
PARTS = ("color", "depth", "info")
MOST_JOINT_STATES = 4096  # whatever their stamps say
CameraPose = Callable[[str, float], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class SyncConfig:
    """How far apart, and how old, the parts of an observation may be.

    Attributes:
        max_skew_s: largest difference between an image's stamp and that of any other part; 0 asks for equal stamps.
        max_age_s: an input that has not come for this long counts as missing (steady clock).
        max_lag_s: how far the stamp of an observation may be behind that of the newest joint state, beyond what the
            cameras' latencies explain: of pictures that come later nothing is made.
        buffer_length: messages kept of each topic of a camera, and at least so many joint states: of those, all that
            are no older than `max_age_s` are kept, since arms report up to a thousand times a second.
    """

    max_skew_s: float = field(default=0.02, metadata={"range": (0.0, 1.0)})
    max_age_s: float = field(default=0.5, metadata={"range": (0.01, 60.0)})
    max_lag_s: float = field(default=0.2, metadata={"range": (0.0, 60.0)})
    buffer_length: int = field(default=16, metadata={"range": (1, 1000)})


@dataclass(slots=True)
class StreamStatus:
    """Counters of one stream.

    Attributes:
        received: messages so far.
        dropped: images and calibrations that came and were never part of an observation.
        skew_s: difference between this stream's stamp and the observation's, in the newest observation.
        lag_s: how far the newest message's stamp was behind that of the newest joint state when it came.
        received_at: when the newest message came, on the clock of the caller; None before the first.
    """

    received: int = 0
    dropped: int = 0
    skew_s: float = 0.0
    lag_s: float = 0.0
    received_at: float | None = None


class _Stream:
    def __init__(self, length: int) -> None:
        self.items: deque[tuple[float, Any]] = deque(maxlen=length)
        self.newest = -np.inf
        self.status = StreamStatus()

    def nearest(self, stamp: float) -> tuple[float, Any] | None:
        place = bisect_left(self.items, stamp, key=itemgetter(0))
        beside = [self.items[k] for k in (place - 1, place) if 0 <= k < len(self.items)]
        return min(beside, key=lambda item: abs(item[0] - stamp), default=None)

    def add(self, stamp: float, payload: Any) -> bool:
        """Put an item in its place, or in that of one of the same stamp; returns whether another had to go."""
        late = bool(self.items) and stamp <= self.items[-1][0]
        if late:
            self.remove(lambda other: other == stamp)
        full = len(self.items) == self.items.maxlen
        self.items.append((stamp, payload))
        if late:
            self.items = deque(sorted(self.items, key=itemgetter(0)), maxlen=self.items.maxlen)
        return full

    def remove(self, unwanted: Callable[[float], bool]) -> int:
        """Forget the items whose stamp is unwanted; returns how many."""
        kept = [item for item in self.items if not unwanted(item[0])]
        count = len(self.items) - len(kept)
        self.items = deque(kept, maxlen=self.items.maxlen)
        return count


class ObservationSynchronizer:
    """Buffers each stream and hands out complete observations, each once.

    Args:
        cameras: names of the cameras that an observation needs; the first one's images give the stamp. Without cameras
            every joint state is an observation.
        config: tolerances.
        camera_pose: base_from_camera (4, 4) of a camera at the stamp of its picture.
        latencies: by camera, how many seconds later than their capture its images are stamped; taken off the stamps of
            all that comes from it, so that an observation's stamp is the time of the capture.
        may_lack_cameras: whether observations may lack some of the cameras, though not all.
        looks_back_s: observations carry the colour pictures of so many seconds before as `Observation.earlier`, where
            they came; 0 for none.

    Attributes:
        instruction: what to do; None before the first one.
        rewinds: how often stamps jumped back.
        without_earlier: views handed out so far without the picture before, although it is looked for.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        config: SyncConfig,
        camera_pose: CameraPose,
        latencies: Mapping[str, float] | None = None,
        may_lack_cameras: bool = False,
        looks_back_s: float = 0.0,
    ) -> None:
        self.instruction: str | None = None
        self.rewinds = self.without_earlier = 0
        self._earlier = EarlierPictures(cameras, looks_back_s, config.buffer_length) if looks_back_s else None
        self._cameras = tuple(cameras)
        self._config = config
        self._camera_pose = camera_pose
        self._latencies = dict.fromkeys(cameras, 0.0) | dict(latencies or {})
        self._most_lag_s = config.max_lag_s + max(self._latencies.values(), default=0.0)
        self._may_lack_cameras = may_lack_cameras
        self._listening_since: float | None = None
        names = [JOINTS, *(f"{camera}/{part}" for camera in cameras for part in PARTS)]
        self._streams = {name: _Stream(config.buffer_length) for name in names}
        self._streams[JOINTS] = _Stream(max(config.buffer_length, MOST_JOINT_STATES))

    def add_color(self, camera: str, stamp: float, rgb: NDArray[np.uint8], now: float) -> bool:
        """Add a colour image (H, W, 3); like the other `add_*`, returns whether the stamps jumped back."""
        stamp -= self._latencies[camera]
        rewound = self._add(f"{camera}/color", stamp, rgb, now)
        if self._earlier is not None:
            self._earlier.add(camera, stamp, rgb)
        return rewound

    def add_depth(self, camera: str, stamp: float, depth: NDArray[np.uint16] | NDArray[np.float32], now: float) -> bool:
        """Add a depth image (H, W), uint16 millimetres or float32 metres, registered to the colour image.

        It becomes metres where it is part of an observation: cameras see more often than policies look.
        """
        return self._add(f"{camera}/depth", stamp - self._latencies[camera], depth, now)

    def add_intrinsics(
        self, camera: str, stamp: float, intrinsics: NDArray[np.float64], size: tuple[int, int], now: float
    ) -> bool:
        """Add a calibration: matrix (3, 3) in pixels for images of (height, width)."""
        return self._add(f"{camera}/info", stamp - self._latencies[camera], (intrinsics, size), now)

    def add_joints(
        self, stamp: float, positions: NDArray[np.float64], velocities: NDArray[np.float64], now: float
    ) -> bool:
        """Add joint positions and velocities, each (n,)."""
        rewound = self._add(JOINTS, stamp, (positions, velocities), now)
        items = self._streams[JOINTS].items
        while len(items) > self._config.buffer_length and items[0][0] < stamp - self._config.max_age_s:
            items.popleft()
        return rewound

    def take(self, now: float, wanted: Callable[[float], bool] = lambda stamp: True) -> Observation | None:
        """The newest complete observation that was not handed out yet, or None.

        Args:
            now: present time, as given to the `add_*`.
            wanted: whether an observation of that stamp is of use; one that is not is over all the same, and is not
                made.

        Raises:
            ValueError: the images of a camera and its calibration have different sizes; the set is forgotten.
        """
        if self.instruction is None:
            return None
        lost = self.lost_cameras(now)
        cameras = [camera for camera in self._cameras if camera not in lost]
        names = [JOINTS, *(f"{camera}/{part}" for camera in cameras for part in PARTS)]
        oldest = self._streams[JOINTS].newest - self._most_lag_s
        for stamp, _ in reversed(self._streams[f"{cameras[0]}/color" if cameras else JOINTS].items):
            if stamp < oldest:
                return None
            found = {name: self._streams[name].nearest(stamp) for name in names}
            if all(item is not None and abs(item[0] - stamp) <= self._config.max_skew_s for item in found.values()):
                parts = {name: item for name, item in found.items() if item is not None}
                return self._join(stamp, cameras, parts, wanted(stamp))
        return None

    def newest_depths(self) -> dict[str, NDArray[np.float32]]:
        """Depth image (H, W) in metres that came last, by camera; without those of which none is held."""
        held = {camera: self._streams[f"{camera}/depth"].items for camera in self._cameras}
        return {camera: metres(items[-1][1]) for camera, items in held.items() if items}

    def lost_cameras(self, now: float) -> list[str]:
        """Cameras that observations do without: not complete for `max_age_s`, while another one is."""
        late = [camera for camera in self._cameras if any(self._late(f"{camera}/{part}", now) for part in PARTS)]
        return late if self._may_lack_cameras and len(late) < len(self._cameras) else []

    def clear(self) -> None:
        """Forget every message; counters stay."""
        for stream in self._streams.values():
            stream.items.clear()
            stream.newest = -np.inf
        self._listening_since = None
        self.forget_earlier()

    def forget_earlier(self) -> None:
        """Let the next observation carry no picture of before: another episode begins."""
        if self._earlier is not None:
            self._earlier.clear()

    def statuses(self) -> dict[str, StreamStatus]:
        """Counters by stream: `joint_states` and `<camera>/color`, `/depth`, `/info`."""
        return {name: stream.status for name, stream in self._streams.items()}

    def missing(self, now: float) -> list[str]:
        """What keeps observations from being made: streams that never came or not for `max_age_s`, in words."""
        lacks = [] if self.instruction is not None else ["instruction never came"]
        without = tuple(f"{camera}/" for camera in self.lost_cameras(now))
        for name, stream in self._streams.items():
            if name.startswith(without):
                continue
            if stream.status.received_at is None:
                lacks.append(f"{name} never came")
            elif now - stream.status.received_at > self._config.max_age_s:
                lacks.append(f"{name} last came {now - stream.status.received_at:.2f} s ago")
        return lacks

    def lagging(self) -> list[str]:
        """Cameras whose newest messages came too late for an observation, in words."""
        lags = {
            camera: max(self._streams[f"{camera}/{part}"].status.lag_s for part in PARTS) for camera in self._cameras
        }
        return [
            f"camera {camera!r} is {lag:.2f} s behind the joint states (at most {self._most_lag_s:g} s)"
            for camera, lag in lags.items()
            if lag > self._most_lag_s
        ]

    def _add(self, name: str, stamp: float, payload: Any, now: float) -> bool:
        if self._listening_since is None:
            self._listening_since = now
        stream = self._streams[name]
        rewound = stamp < stream.newest
        if rewound:
            self._rewind(stamp)
        if stream.add(stamp, payload) and name != JOINTS:
            stream.status.dropped += 1
        stream.newest = stamp
        newest_joints = self._streams[JOINTS].newest
        stream.status.lag_s = newest_joints - stamp if np.isfinite(newest_joints) else 0.0
        stream.status.received += 1
        stream.status.received_at = now
        return rewound

    def _rewind(self, stamp: float) -> None:
        """Forget the future. Other streams may have jumped first: what they hold of the new past stays."""
        self.rewinds += 1
        self.forget_earlier()
        horizon = stamp + self._config.max_skew_s
        for stream in self._streams.values():
            stream.remove(lambda other: other > horizon)
            if stream.newest > horizon:
                stream.newest = -np.inf

    def _late(self, name: str, now: float) -> bool:
        since, received_at = self._listening_since, self._streams[name].status.received_at
        if since is None:
            return False
        return now - (since if received_at is None else max(since, received_at)) > self._config.max_age_s

    def _join(
        self, stamp: float, cameras: Sequence[str], parts: dict[str, tuple[float, Any]], wanted: bool
    ) -> Observation | None:
        earlier = self._pictures_before(stamp, {camera: parts[f"{camera}/color"][0] for camera in cameras})
        for camera, (shown, _) in earlier.items():
            self._streams[f"{camera}/color"].remove(lambda other, shown=shown: other == shown)
        for name, (used, _) in parts.items():
            stream = self._streams[name]
            stream.status.skew_s = used - stamp
            older = stream.remove(lambda other, used=used: other <= used) - 1
            # Arms report more often than cameras see: a joint state between two images is no loss.
            stream.status.dropped += 0 if name == JOINTS else older
        if not wanted:
            return None
        positions, velocities = parts[JOINTS][1]
        views = {camera: self._view(camera, parts) for camera in cameras}
        pictures = {camera: rgb for camera, (_, rgb) in earlier.items()}
        return Observation(stamp, views, positions, velocities, self.instruction or "", earlier=pictures)

    def _pictures_before(self, stamp: float, taken: Mapping[str, float]) -> dict[str, tuple[float, NDArray[np.uint8]]]:
        if self._earlier is None:
            return {}
        found = {camera: self._earlier.before(camera, stamp, own) for camera, own in taken.items()}
        known = {camera: picture for camera, picture in found.items() if picture is not None}
        self.without_earlier += len(found) - len(known)
        return known

    def _view(self, camera: str, parts: dict[str, tuple[float, Any]]) -> CameraView:
        (taken, rgb), (_, depth) = parts[f"{camera}/color"], parts[f"{camera}/depth"]
        intrinsics, size = parts[f"{camera}/info"][1]
        if not rgb.shape[:2] == depth.shape == size:
            raise ValueError(
                f"camera '{camera}': expected colour, depth and camera_info of one size (height, width), found "
                f"{rgb.shape[:2]}, {depth.shape}, {size}; register the depth image to the colour camera"
            )
        return CameraView(rgb, metres(depth), intrinsics, self._camera_pose(camera, taken))
