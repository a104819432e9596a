"""`SensorBag`: a bag of what drivers, policy and recorder would have published, made without them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.execution.trajectory import JointTrajectory
from policies.robots import get_drivers
from policies.robots.spec import RobotSpec
from representation.data.bag_messages import encode, make
from representation.data.bag_writer import BagTopic, BagWriter
from representation.data.episode_marks import MARKS_TOPIC, EpisodeMark, Event

START_S = 1_700_000_000
FOCAL_PX = 600.0


class SensorBag:
    """Writes messages; their times are seconds since the bag's start.

    Args:
        writer: of the bag; closed by whoever made it.
        robot: whose joints and commands they are.
    """

    def __init__(self, writer: BagWriter, robot: RobotSpec) -> None:
        self._writer, self._robot = writer, robot
        self._topics: set[str] = set()

    def mark(self, event: Event, instruction: str, time: float) -> None:
        """Mark an episode."""
        self.text(f"/{MARKS_TOPIC}", EpisodeMark(event, instruction).to_json(), time)

    def text(self, topic: str, text: str, time: float) -> None:
        """Write a std_msgs/String."""
        self.send(topic, "std_msgs/msg/String", time, data=text)

    def mount(self, camera: str, time: float, transforms: str = "", x: float = 1.2) -> None:
        """Place a camera in front of the robot, at `x` metres, on its own topic or on that of transforms."""
        kind = "geometry_msgs/msg/TransformStamped"
        transform = make(
            kind,
            header=_header(time, self._robot.base_frame),
            child_frame_id=f"{camera}_optical_frame",
            transform=make(
                "geometry_msgs/msg/Transform",
                translation=make("geometry_msgs/msg/Vector3", x=x, y=0.0, z=0.5),
                rotation=make("geometry_msgs/msg/Quaternion", x=0.5, y=0.5, z=-0.5, w=-0.5),
            ),
        )
        if transforms:
            self.send(transforms, "tf2_msgs/msg/TFMessage", time, transforms=[transform])
        else:
            self.send_message(f"/camera/{camera}/extrinsics", kind, time, transform)

    def joints(self, positions: NDArray[np.float64], time: float, told: slice = slice(None)) -> None:
        """Write a joint state at rest, of the joints `told` of positions (n,)."""
        names, positions = list(self._robot.joint_names)[told], positions[told]
        still = np.zeros_like(positions)
        fields = {"name": names, "position": positions, "velocity": still, "effort": still}
        self.send("/joint_states", "sensor_msgs/msg/JointState", time, header=_header(time), **fields)

    def command(self, trajectory: JointTrajectory, time: float) -> None:
        """Write what each controller gets; the trajectory's stamp is in seconds since the bag's start."""
        for controller in get_drivers(self._robot.name).controllers:
            places = list(controller.joints)
            rows = zip(trajectory.times, trajectory.positions, trajectory.velocities, strict=True)
            points = [_point(due, positions[places], velocities[places]) for due, positions, velocities in rows]
            names = [self._robot.joint_names[place] for place in places]
            fields = {"header": _header(trajectory.stamp), "joint_names": names, "points": points}
            self.send(f"/{controller.topic}", "trajectory_msgs/msg/JointTrajectory", time, **fields)

    def picture(self, camera: str, colour: NDArray[np.uint8], depth: NDArray[np.uint16], time: float) -> None:
        """Write colour (H, W, 3), depth (H, W) in millimetres, and the calibration, of one instant."""
        header = _header(time, f"{camera}_optical_frame")
        height, width = depth.shape
        info = {"height": height, "width": width, "distortion_model": "plumb_bob", "d": np.zeros(5)}
        info |= {"k": np.array([FOCAL_PX, 0, width / 2, 0, FOCAL_PX, height / 2, 0, 0, 1]), "r": np.eye(3).ravel()}
        info |= {"p": np.zeros(12), "binning_x": 0, "binning_y": 0}
        whole = make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
        topic = f"/camera/{camera}/color/camera_info"
        self.send(topic, "sensor_msgs/msg/CameraInfo", time, header=header, roi=whole, **info)
        for part, encoding, pixels in (
            ("color/image_raw", "rgb8", colour),
            ("aligned_depth_to_color/image_raw", "16UC1", depth),
        ):
            image = {"height": height, "width": width, "encoding": encoding, "is_bigendian": 0}
            image |= {"step": pixels.nbytes // height, "data": pixels.reshape(-1).view(np.uint8)}
            self.send(f"/camera/{camera}/{part}", "sensor_msgs/msg/Image", time, header=header, **image)

    def send(self, topic: str, kind: str, time: float, **fields: Any) -> None:
        """Write a message of all its fields."""
        self.send_message(topic, kind, time, make(kind, **fields))

    def send_message(self, topic: str, kind: str, time: float, message: Any) -> None:
        """Write a message."""
        if topic not in self._topics:
            self._writer.add_topic(BagTopic(topic, kind))
            self._topics.add(topic)
        stamp = START_S * 10**9 + round(time * 1e9)
        self._writer.write(topic, encode(message, kind), stamp, stamp)


def _point(due: float, positions: NDArray[np.float64], velocities: NDArray[np.float64]) -> Any:
    none = np.array([])
    return make(
        "trajectory_msgs/msg/JointTrajectoryPoint",
        positions=positions,
        velocities=velocities,
        accelerations=none,
        effort=none,
        time_from_start=make("builtin_interfaces/msg/Duration", **_parts(due)),
    )


def _parts(seconds: float) -> dict[str, int]:
    whole, nanoseconds = divmod(round(seconds * 1e9), 10**9)
    return {"sec": whole, "nanosec": nanoseconds}


def _header(time: float, frame: str = "") -> Any:
    parts = _parts(time)
    stamp = make("builtin_interfaces/msg/Time", sec=START_S + parts["sec"], nanosec=parts["nanosec"])
    return make("std_msgs/msg/Header", stamp=stamp, frame_id=frame)
