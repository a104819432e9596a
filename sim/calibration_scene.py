"""A robot with a camera and a textured ChArUco board, of which every true number is known.

Eye in hand: the wrist camera sees a board that lies on the table. Eye to hand: the front camera sees a board that the
hand holds. The camera's mount and the board's place are drawn at random about their nominal values, so that no
calibration can be right by knowing the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from policies.calibration.board import Board, BoardSpec
from policies.calibration.hand_eye import Setup
from policies.execution.kinematics import Kinematics
from policies.robots import get_robot
from policies.robots.model import load_robot_spec
from sim.rendering import OffscreenRenderer, intrinsics
from sim.scene import look_at, scene_cameras

SIZE = (640, 480)
BOARD_TILT_DEG = 30.0
ROLL_DEG = 45.0
ASIDE_M = 0.04
REACH_TOLERANCE = 1e-3
_TEXTURE_PIXELS = 48  # a square
_THICKNESS = 0.002
_OPTICAL = np.diag([1.0, -1.0, -1.0])  # MuJoCo's cameras look along -z with y up


@dataclass(frozen=True, slots=True)
class CalibrationNoise:
    """What a real set-up adds.

    Attributes:
        pixel: standard deviation of each colour value, of 255.
        blur_px: standard deviation of the lens blur, pixels.
        joint_deg: standard deviation of each reported joint angle, degrees.
    """

    pixel: float = field(default=3.0, metadata={"range": (0.0, 255.0)})
    blur_px: float = field(default=0.6, metadata={"range": (0.0, 10.0)})
    joint_deg: float = field(default=0.1, metadata={"range": (0.0, 10.0)})


class CalibrationScene:
    """The scene of one set-up and seed; a context manager.

    Attributes:
        board: the board in it.
        matrix: (3, 3) true camera matrix, pixels.
        tool_frame: body that carries camera or board.
        camera: name of the camera.
        parent_from_camera: (4, 4) true mount of the optical frame, in `tool_frame` or the base frame.
    """

    def __init__(self, setup: Setup, noise: CalibrationNoise, seed: int) -> None:
        self.setup, self.noise = setup, noise
        self.rng = np.random.default_rng(seed)
        self.robot = get_robot("panda")
        self.board = Board(BoardSpec())
        self.tool_frame = "hand"
        self.camera = "wrist" if setup == "eye_in_hand" else "front"
        self.kinematics = Kinematics(self.robot)
        spec = load_robot_spec(self.robot)
        mount = self._true_mount(spec)
        self.parent_from_camera, self._board_pose = mount, self._true_board()
        if setup == "eye_to_hand":
            spec.worldbody.add_camera(name=self.camera, fovy=scene_cameras(self.robot).fovy_deg)
        _set_camera(spec, self.camera, mount)
        _add_board(spec, self.board, self._board_pose, setup, self.tool_frame)
        spec.worldbody.add_light(
            dir=(0, 0.1, -1), diffuse=(0.3, 0.3, 0.3), type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
        )
        spec.visual.headlight.ambient = (0.3, 0.3, 0.3)
        spec.visual.headlight.diffuse = (0.3, 0.3, 0.3)
        spec.visual.headlight.specular = (0.0, 0.0, 0.0)
        spec.visual.map.znear = 0.01
        spec.stat.extent = 1.0
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        self._address = np.array([self._model.joint(name).qposadr[0] for name in self.robot.joint_names])
        self._renderer = OffscreenRenderer(self._model, *SIZE, profile="quality")
        self.matrix = intrinsics(float(self._model.camera(self.camera).fovy[0]), *SIZE)

    def picture(self, joint_positions: NDArray[np.float64]) -> NDArray[np.uint8]:
        """What the camera sees, with noise, (H, W, 3), at true joint positions (n,)."""
        self._data.qpos[self._address] = joint_positions
        mujoco.mj_forward(self._model, self._data)
        rgb, _ = self._renderer.render(self._data, self.camera)
        image = rgb.astype(np.float32)
        if self.noise.blur_px > 0:
            image = cv2.GaussianBlur(image, (0, 0), self.noise.blur_px)
        image += self.rng.normal(0.0, self.noise.pixel, image.shape)
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)

    def reported(self, joint_positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the encoders tell of true joint positions (n,)."""
        noisy = joint_positions.copy()
        arm = self.robot.arm_joints
        noisy[arm] += np.deg2rad(self.rng.normal(0.0, self.noise.joint_deg, len(arm)))
        return noisy

    def views(self, count: int, aside_m: float = ASIDE_M) -> Iterator[tuple[NDArray[np.float64], NDArray[np.uint8]]]:
        """`count` true joint positions (n,), and the pictures (H, W, 3) of the board that the camera takes there.

        Args:
            count: how many.
            aside_m: how far from the middle of the image the board's may be, each way, metres at the board.

        Raises:
            RuntimeError: too few of the random poses are within the robot's reach.
        """
        found, seed_q = 0, self.robot.home
        for _ in range(20 * count):
            target = self._random_tool_pose(aside_m)
            q = self.kinematics.inverse(self._base_from_tcp(target), seed_q)
            if np.abs(self.kinematics.frame(q, self.tool_frame) - target).max() > REACH_TOLERANCE:
                continue
            rgb = self.picture(q)
            if self.board.detect(rgb) is None:
                continue
            yield q, rgb
            found += 1
            if found == count:
                return
        raise RuntimeError(f"calibration scene: expected {count} poses within reach, found {found}")

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()

    def __enter__(self) -> CalibrationScene:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _base_from_tcp(self, base_from_tool: NDArray[np.float64]) -> NDArray[np.float64]:
        home = self.robot.home
        tool_from_tcp = np.linalg.inv(self.kinematics.frame(home, self.tool_frame)) @ self.kinematics.forward(home)
        return base_from_tool @ tool_from_tcp

    def _random_tool_pose(self, aside_m: float) -> NDArray[np.float64]:
        """A pose of the tool from which camera and board look at each other, more or less."""
        tilt = np.deg2rad(self.rng.uniform(-BOARD_TILT_DEG, BOARD_TILT_DEG, 2))
        roll = np.deg2rad(self.rng.uniform(-ROLL_DEG, ROLL_DEG))
        turn = Rotation.from_euler("xyz", (*tilt, roll)).as_matrix()
        centre = np.array([*(0.5 * side for side in self.board.spec.size_m), 0.0])
        camera_from_board = np.eye(4)
        distance = self.rng.uniform(0.28, 0.42) if self.setup == "eye_in_hand" else self.rng.uniform(0.5, 0.75)
        aim = np.array([*self.rng.uniform(-aside_m, aside_m, 2), distance])
        facing = turn if self.setup == "eye_in_hand" else turn @ self._upright
        camera_from_board[:3, :3] = facing
        camera_from_board[:3, 3] = aim - facing @ centre
        if self.setup == "eye_in_hand":
            return self._board_pose @ np.linalg.inv(camera_from_board) @ np.linalg.inv(self.parent_from_camera)
        return self.parent_from_camera @ camera_from_board @ np.linalg.inv(self._board_pose)

    @property
    def _upright(self) -> NDArray[np.float64]:
        """How the held board appears to the front camera when the hand hangs down."""
        home = self.kinematics.frame(self.robot.home, self.tool_frame)
        seen = (np.linalg.inv(self.parent_from_camera) @ home @ self._board_pose)[:3, :3]
        # Turned about the axis that brings the board's normal into the optical axis.
        correction, _ = Rotation.align_vectors([[0.0, 0.0, 1.0]], [seen[:, 2]])
        return correction.as_matrix() @ seen

    def _true_mount(self, spec: mujoco.MjSpec) -> NDArray[np.float64]:
        if self.setup == "eye_in_hand":
            nominal = _nominal(spec.camera(self.camera).pos, spec.camera(self.camera).quat)
        else:
            front = scene_cameras(self.robot)
            position, target = np.array(front.position), np.array(front.target)
            nominal = _nominal(position, look_at(position, target))
        return nominal @ self._jitter(0.03, 5.0)

    def _true_board(self) -> NDArray[np.float64]:
        """Of the printed face: z away from the viewer, as OpenCV has it."""
        width, height = self.board.spec.size_m
        pose = np.eye(4)
        if self.setup == "eye_in_hand":
            pose[:3, :3] = np.diag([1.0, -1.0, -1.0])
            pose[:3, 3] = (0.5 - 0.5 * width, 0.5 * height, 0.01)
        else:
            # Beside the fingers, with its face away from the robot's base when the hand hangs down.
            base_from_hand = self.kinematics.frame(self.robot.home, self.tool_frame)[:3, :3]
            face = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # columns: right, down, inwards
            pose[:3, :3] = base_from_hand.T @ face
            pose[:3, 3] = (0.0, 0.0, 0.17) - pose[:3, :3] @ (0.5 * width, 0.5 * height, 0.0)
        return pose @ self._jitter(0.01, 5.0)

    def _jitter(self, metres: float, degrees: float) -> NDArray[np.float64]:
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec(np.deg2rad(self.rng.uniform(-degrees, degrees, 3))).as_matrix()
        pose[:3, 3] = self.rng.uniform(-metres, metres, 3)
        return pose


def _nominal(position: NDArray[np.float64], quaternion_wxyz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Optical frame of a MuJoCo camera."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat(quaternion_wxyz, scalar_first=True).as_matrix() @ _OPTICAL
    pose[:3, 3] = position
    return pose


def _set_camera(spec: mujoco.MjSpec, name: str, mount: NDArray[np.float64]) -> None:
    camera = spec.camera(name)
    camera.pos = mount[:3, 3]
    camera.quat = Rotation.from_matrix(mount[:3, :3] @ _OPTICAL).as_quat(scalar_first=True)


def _add_board(spec: mujoco.MjSpec, board: Board, pose: NDArray[np.float64], setup: Setup, tool_frame: str) -> None:
    """A thin box, whose face towards its own +z shows the picture."""
    grey = board.picture(_TEXTURE_PIXELS)
    texture = spec.add_texture(
        name="board",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        width=grey.shape[1],
        height=grey.shape[0],
        nchannel=3,
        colorspace=mujoco.mjtColorSpace.mjCOLORSPACE_LINEAR,
    )
    texture.data = np.repeat(grey[:, :, None], 3, axis=2).tobytes()
    material = spec.add_material(name="board", specular=0.0, shininess=0.0)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "board"
    (width, height), margin = board.spec.size_m, board.spec.margin_m
    face = pose[:3, :3] @ _OPTICAL
    centre = pose[:3, 3] + pose[:3, :3] @ (0.5 * width, 0.5 * height, _THICKNESS)
    body = spec.worldbody if setup == "eye_in_hand" else spec.body(tool_frame)
    body.add_geom(
        name="board",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=(0.5 * width + margin, 0.5 * height + margin, _THICKNESS),
        pos=centre,
        quat=Rotation.from_matrix(face).as_quat(scalar_first=True),
        material="board",
        contype=0,
        conaffinity=0,
        mass=0.0,
    )
