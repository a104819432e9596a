"""`Imperfections`: what is wrong with the twin's sensors and with its way to the controller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Imperfections:
    """Disturbances of a twin in realtime; by default there are none.

    What a camera sends is a frame: calibration, colour and depth; they are lost, late and stopped together.

    Attributes:
        latency_s: frames and joint states are sent so many seconds later than they were taken.
        jitter_s: and up to so much later still, drawn anew for each; none overtakes the one before.
        seed: of the draws of jitter and losses.
        image_loss: share of the frames that are lost.
        joint_state_loss: share of the joint states that are lost.
        late_camera: name of a camera whose frames are later than the others'; empty for none.
        late_camera_s: by so many seconds.
        stopped_cameras: names of cameras that send nothing.
        frozen_cameras: names of cameras that send the last picture again and again, with new stamps.
        camera_stamp_offset_s: added to the stamps of frames.
        joint_stamp_offset_s: added to the stamps of joint states.
        joints_stopped: no joint states are sent.
        joints_reversed: joint states have the joints in reversed order: names, positions and velocities.
        image_encoding: what colour images claim to be encoded in; empty for the truth.
        image_step: bytes of a row that images claim to have; -1 for the truth.
        image_bigendian: images claim to have the high byte of a number first.
        clock_paused: /clock stands still.
        command_latency_s: trajectories reach the controller so many seconds late.
    """

    latency_s: float = field(default=0.0, metadata={"range": (0.0, 10.0)})
    jitter_s: float = field(default=0.0, metadata={"range": (0.0, 10.0)})
    seed: int = field(default=0, metadata={"range": (0, 2**31 - 1)})
    image_loss: float = field(default=0.0, metadata={"range": (0.0, 1.0)})
    joint_state_loss: float = field(default=0.0, metadata={"range": (0.0, 1.0)})
    late_camera: str = ""
    late_camera_s: float = field(default=0.0, metadata={"range": (0.0, 10.0)})
    stopped_cameras: tuple[str, ...] = ()
    frozen_cameras: tuple[str, ...] = ()
    camera_stamp_offset_s: float = field(default=0.0, metadata={"range": (-3600.0, 3600.0)})
    joint_stamp_offset_s: float = field(default=0.0, metadata={"range": (-3600.0, 3600.0)})
    joints_stopped: bool = False
    joints_reversed: bool = False
    image_encoding: str = ""
    image_step: int = field(default=-1, metadata={"range": (-1, 1_000_000)})
    image_bigendian: bool = False
    clock_paused: bool = False
    command_latency_s: float = field(default=0.0, metadata={"range": (0.0, 10.0)})

    def __post_init__(self) -> None:
        for name in ("latency_s", "jitter_s", "late_camera_s", "command_latency_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: expected >= 0 s, found {getattr(self, name)}")
        for name in ("image_loss", "joint_state_loss"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a share from 0 to 1, found {getattr(self, name)}")

    def check_cameras(self, known: Sequence[str]) -> None:
        """Refuse the name of a camera that is not there.

        Raises:
            ValueError: names the attribute, the known cameras and the unknown one.
        """
        named = {
            "late_camera": (self.late_camera,) if self.late_camera else (),
            "stopped_cameras": self.stopped_cameras,
            "frozen_cameras": self.frozen_cameras,
        }
        for attribute, cameras in named.items():
            unknown = [camera for camera in cameras if camera not in known]
            if unknown:
                raise ValueError(f"{attribute}: expected some of {list(known)}, found {unknown[0]!r}")


NONE = Imperfections()
