"""The tabletop: one MuJoCo model for all tasks of a robot, re-arranged for every episode by editing its arrays.

Compiling a model and a rendering context costs more than an episode's physics, so the scene is compiled once per
process with everything in it: robot, table and `OBJECT_SLOTS` free objects; for one arm two zones, a bin and a cabinet
with two drawers; for two arms two bins and the props. `Scene.arrange` moves, resizes and recolours what the episode
needs and puts the rest out of sight.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from policies.robots.model import load_robot_spec
from policies.robots.spec import RobotSpec
from sim.appearance import COLOURS
from sim.layout import Layout, ObjectLayout
from sim.props import REST_HEIGHT, add_props
from sim.suites import Variation

OBJECT_SLOTS = 6
ZONE_RADIUS = 0.06
BIN_HALF_WIDTH = 0.075
BIN_WALL_HEIGHT = 0.045
DRAWER_TRAVEL = 0.16
HANDLE_OFFSET = 0.055
HANDLE_HEIGHT = 0.085
DRAWER_SPACING = 0.18
MAX_HALF_SIZE = 0.026
OBJECT_DENSITY = 800.0


@dataclass(frozen=True, slots=True)
class SceneCameras:
    """The cameras around one robot.

    Attributes:
        fixed: name of the one that stands still.
        position: where that stands, metres.
        target: what it has in its middle, metres.
        fovy_deg: its vertical field of view.
        carried: names of those that the robot carries.
    """

    fixed: str
    position: tuple[float, float, float]
    target: tuple[float, float, float]
    fovy_deg: float
    carried: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, the fixed one first."""
        return self.fixed, *self.carried


def scene_cameras(robot: RobotSpec) -> SceneCameras:
    """A fixed camera that faces one arm, or looks down on several, and those of the robot's model."""
    carried = tuple(camera.name for camera in load_robot_spec(robot).cameras)
    if len(robot.arms) == 1:
        return SceneCameras("front", (1.30, 0.0, 0.55), (0.50, 0.0, 0.06), 35.0, carried)
    return SceneCameras("top", (0.22, 0.0, 1.02), (0.50, 0.0, 0.05), 42.0, carried)


_FAR_AWAY = (-6.0, 0.0, -3.0)
_PROPS = {"tray": 0, "peg": 1, "socket": 2}

_GEOM_TYPES = {
    "cube": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "ball": mujoco.mjtGeom.mjGEOM_SPHERE,
}


Item = int | str
"""Slot of an object, or name of a prop."""


def look_at(position: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quaternion (w, x, y, z) of a MuJoCo camera (looks along -z, y up) at `position` with `target` in its middle."""
    forward = target - position
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right = right / np.linalg.norm(right)
    rotation = np.stack([right, np.cross(right, forward), -forward], axis=1)
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    return quaternion


class Scene:
    """The compiled model, its state, and what tasks and experts may ask of it.

    Attributes:
        model: compiled model; array fields change between episodes, sizes never.
        data: its state.
        cameras: what looks at it.
    """

    def __init__(self, robot: RobotSpec, robot_model: str = "polyarm") -> None:
        self.robot = robot
        self.model = _compile(robot, robot_model)
        self.data = mujoco.MjData(self.model)
        self.cameras = scene_cameras(robot)
        self._objects = [self.model.body(f"object{slot}") for slot in range(OBJECT_SLOTS)]
        bodies = {self.model.body(body).name for body in range(self.model.nbody)}
        self._bins = [self.model.body(name) for name in ("bin", "bin1") if name in bodies]
        self._props = {name: self.model.body(name) for name in _PROPS if name in bodies}
        self._joint_qpos = np.array([self.model.joint(name).qposadr[0] for name in robot.joint_names])
        self._joint_dof = np.array([self.model.joint(name).dofadr[0] for name in robot.joint_names])
        self._tool_sites = [self.model.site(arm.tool_site).id for arm in robot.arms]
        self._hand_bodies = [{self.model.body(name).id for name in arm.hand_bodies} for arm in robot.arms]
        self._layout: Layout | None = None

    def arrange(self, layout: Layout, variation: Variation, joint_positions: NDArray[np.float64]) -> None:
        """Put `layout` on the table and the robot at `joint_positions` (n,), all at rest."""
        if len(layout.objects) > OBJECT_SLOTS:
            raise ValueError(f"layout: expected at most {OBJECT_SLOTS} objects, found {len(layout.objects)}")
        self._layout = layout
        mujoco.mj_resetData(self.model, self.data)
        self._place_fixtures(layout)
        self._apply_appearance(variation)
        for slot in range(OBJECT_SLOTS):
            self._shape_object(slot, layout.objects[slot] if slot < len(layout.objects) else None)
        mujoco.mj_setConst(self.model, self.data)
        mujoco.mj_resetData(self.model, self.data)
        for slot in range(OBJECT_SLOTS):
            self._place_object(slot, layout.objects[slot] if slot < len(layout.objects) else None)
        self._place_props(layout)
        self.data.qpos[self._joint_qpos] = joint_positions
        for arm in self.robot.arms:
            if arm.second_finger is not None:
                self.data.qpos[self.model.joint(arm.second_finger).qposadr[0]] = joint_positions[arm.gripper]
        mujoco.mj_forward(self.model, self.data)

    @property
    def layout(self) -> Layout:
        """What `arrange` last put on the table."""
        if self._layout is None:
            raise RuntimeError("scene: expected arrange() before its layout is asked for")
        return self._layout

    @property
    def joint_positions(self) -> NDArray[np.float64]:
        """(n,) rad (m)."""
        return self.data.qpos[self._joint_qpos].copy()

    @property
    def joint_velocities(self) -> NDArray[np.float64]:
        """(n,) rad/s (m/s)."""
        return self.data.qvel[self._joint_dof].copy()

    def tool_position(self, arm: int = 0) -> NDArray[np.float64]:
        """(3,) m, tool centre point of an arm in the base frame."""
        return self.data.site_xpos[self._tool_sites[arm]].copy()

    def tool_rotation(self, arm: int = 0) -> NDArray[np.float64]:
        """(3, 3) rotation of an arm's tool frame in the base frame."""
        return self.data.site_xmat[self._tool_sites[arm]].reshape(3, 3).copy()

    def gripper_opening(self, arm: int = 0) -> float:
        """Opening of an arm's gripper from 0 (closed) to 1 (open)."""
        return float(self.robot.gripper_openings(self.joint_positions)[arm])

    def object_position(self, item: Item) -> NDArray[np.float64]:
        """(3,) m, centre of an object or origin of a prop in the base frame."""
        return self.data.xpos[self._body(item)].copy()

    def move_object(self, slot: int, position: NDArray[np.float64]) -> None:
        """Put an object's centre to a place (3,), metres, at rest and turned as it is."""
        joint = self.model.joint(f"object{slot}")
        address, degrees = joint.qposadr[0], joint.dofadr[0]
        self.data.qpos[address : address + 3] = position
        self.data.qvel[degrees : degrees + 6] = 0.0
        mujoco.mj_forward(self.model, self.data)

    def object_rotation(self, item: Item) -> NDArray[np.float64]:
        """(3, 3) rotation of an object or a prop in the base frame."""
        return self.data.xmat[self._body(item)].reshape(3, 3).copy()

    def object_speed(self, item: Item) -> float:
        """Speed of an object's or a prop's centre, m/s."""
        address = self.model.jnt_dofadr[self.model.body_jntadr[self._body(item)]]
        return float(np.linalg.norm(self.data.qvel[address : address + 3]))

    def touches_gripper(self, item: Item, arm: int = 0) -> bool:
        """Whether an object or a prop is in contact with an arm's hand or one of its fingers."""
        body = self._body(item)
        pairs = self.model.geom_bodyid[self.data.contact.geom]
        return any(body in pair and not self._hand_bodies[arm].isdisjoint(pair) for pair in pairs.tolist())

    def touches_table(self, item: Item) -> bool:
        """Whether an object or a prop is in contact with the table."""
        body, table = self._body(item), self.model.geom("table").id
        pairs = self.data.contact.geom
        return any(table in pair and body in self.model.geom_bodyid[pair] for pair in pairs)

    def touch(self, slot_a: int, slot_b: int) -> bool:
        """Whether two objects are in contact."""
        wanted = {self._objects[slot_a].id, self._objects[slot_b].id}
        return any(set(pair) == wanted for pair in self.model.geom_bodyid[self.data.contact.geom].tolist())

    def drawer_opening(self, index: int) -> float:
        """How far a drawer is open, m."""
        return float(self.data.qpos[self.model.joint(f"drawer{index}").qposadr[0]])

    def handle_position(self, index: int) -> NDArray[np.float64]:
        """(3,) m, middle of a drawer's handle bar in the base frame."""
        return self.data.site(f"handle{index}").xpos.copy()

    def tray_handle(self, side: str) -> NDArray[np.float64]:
        """(3,) m, where the tray's handle of a side (`left`, `right`) is grasped, in the base frame."""
        return self.data.site(f"tray_{side}").xpos.copy()

    def _body(self, item: Item) -> int:
        return (self._props[item] if isinstance(item, str) else self._objects[item]).id

    def _place_fixtures(self, layout: Layout) -> None:
        model = self.model
        for index, body in enumerate(self._bins):
            body.pos = (*layout.bins[index], 0.0) if index < len(layout.bins) else _FAR_AWAY
        if len(self.robot.arms) > 1:
            return  # no zones, no cabinet
        for index in range(2):
            zone = layout.zones[index] if index < len(layout.zones) else None
            model.body(f"zone{index}").pos = (*zone.xy, 0.0) if zone else _FAR_AWAY
            if zone:
                model.geom(f"zone{index}").rgba = (*COLOURS[zone.colour], 1.0)
        model.body("cabinet").pos = (*layout.cabinet.xy, 0.0) if layout.cabinet else _FAR_AWAY
        if layout.cabinet:
            for index, colour in enumerate(layout.cabinet.colours):
                for part in ("front", "lid", "handle"):
                    model.geom(f"drawer{index}_{part}").rgba = (*COLOURS[colour], 1.0)

    def _apply_appearance(self, variation: Variation) -> None:
        model = self.model
        model.geom("table").rgba = variation.table_rgba
        model.geom("floor").rgba = variation.background_rgba
        model.geom("wall").rgba = variation.background_rgba
        light = model.light("key")
        light.dir = variation.light_direction
        light.diffuse = variation.light_diffuse
        model.vis.headlight.ambient[:] = variation.light_ambient
        position = np.asarray(self.cameras.position) + variation.camera_position_offset
        target = np.asarray(self.cameras.target) + variation.camera_target_offset
        model.camera(self.cameras.fixed).pos = position
        model.camera(self.cameras.fixed).quat = look_at(position, target)

    def _shape_object(self, slot: int, item: ObjectLayout | None) -> None:
        """Give a slot its shape, size, colour and inertia; an unused one floats, unseen and untouchable."""
        model, body = self.model, self._objects[slot]
        geom = model.geom(f"object{slot}").id
        active = item is not None
        model.geom_contype[geom] = model.geom_conaffinity[geom] = int(active)
        model.body_gravcomp[body.id] = 0.0 if active else 1.0
        model.geom_rgba[geom] = (*COLOURS[item.colour], 1.0) if item else 0.0
        half = item.half_size if item else 0.01
        shape = item.shape if item else "cube"
        if shape not in _GEOM_TYPES:
            raise ValueError(f"object {slot}: expected a shape of {sorted(_GEOM_TYPES)}, found {shape!r}")
        model.geom_type[geom] = _GEOM_TYPES[shape]
        model.geom_size[geom] = half
        model.geom_rbound[geom] = {"cube": np.sqrt(3.0), "cylinder": np.sqrt(2.0), "ball": 1.0}[shape] * half
        volume = {"cube": 8.0, "cylinder": 2.0 * np.pi, "ball": 4.0 / 3.0 * np.pi}[shape] * half**3
        mass = OBJECT_DENSITY * volume
        per_mass = {
            "cube": (2 / 3, 2 / 3, 2 / 3),
            "cylinder": (7 / 12, 7 / 12, 1 / 2),
            "ball": (2 / 5, 2 / 5, 2 / 5),
        }[shape]
        model.body_mass[body.id] = mass
        model.body_inertia[body.id] = mass * half**2 * np.asarray(per_mass)

    def _place_object(self, slot: int, item: ObjectLayout | None) -> None:
        address = self.model.joint(f"object{slot}").qposadr[0]
        if item is None:
            self.data.qpos[address : address + 7] = (_FAR_AWAY[0] - slot, *_FAR_AWAY[1:], 1, 0, 0, 0)
            return
        half_yaw = 0.5 * item.yaw
        self.data.qpos[address : address + 7] = (*item.xy, item.half_size, np.cos(half_yaw), 0, 0, np.sin(half_yaw))

    def _place_props(self, layout: Layout) -> None:
        """Put the props that the episode uses on the table; the others float, unseen."""
        used = {prop.name: prop for prop in layout.props}
        for name, body in self._props.items():
            prop, address = used.get(name), self.model.joint(name).qposadr[0]
            self.model.body_gravcomp[body.id] = 0.0 if prop else 1.0
            if prop is None:
                self.data.qpos[address : address + 7] = (*_prop_store(name), 1, 0, 0, 0)
                continue
            geoms = slice(body.geomadr[0], body.geomadr[0] + body.geomnum[0])
            self.model.geom_rgba[geoms] = (*COLOURS[prop.colour], 1.0)
            half_yaw = 0.5 * prop.yaw
            quaternion = (np.cos(half_yaw), 0, 0, np.sin(half_yaw))
            self.data.qpos[address : address + 7] = (*prop.xy, REST_HEIGHT[name], *quaternion)


def _prop_store(name: str) -> tuple[float, float, float]:
    return _FAR_AWAY[0] - _PROPS[name], 1.0, _FAR_AWAY[2]


def _compile(robot: RobotSpec, robot_model: str) -> mujoco.MjModel:
    spec = load_robot_spec(robot, robot_model)
    spec.option.timestep = 0.002
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0
    spec.visual.map.znear = 0.01
    spec.visual.map.zfar = 12.0
    spec.visual.headlight.diffuse = (0.25, 0.25, 0.25)
    spec.visual.headlight.specular = (0.0, 0.0, 0.0)
    spec.stat.extent = 1.0
    world = spec.worldbody
    world.add_light(
        name="key", pos=(0.6, -0.4, 1.8), dir=(-0.1, 0.25, -1.0), type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    )
    cameras = scene_cameras(robot)
    world.add_camera(name=cameras.fixed, pos=cameras.position, fovy=cameras.fovy_deg)
    _add_room(world)
    _add_objects(world)
    _add_bin(world, "bin")
    if len(robot.arms) == 1:
        _add_zones(world)
        _add_cabinet(world)
    else:
        _add_bin(world, "bin1")
        add_props(world, {name: _prop_store(name) for name in _PROPS})
    return spec.compile()


def _add_room(world: mujoco.MjsBody) -> None:
    box, plane = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_PLANE
    world.add_geom(name="table", type=box, size=(0.55, 0.75, 0.02), pos=(0.40, 0, -0.02), friction=(0.8, 0.01, 0.001))
    world.add_geom(name="floor", type=plane, size=(3, 3, 3), pos=(0, 0, -0.75), contype=0, conaffinity=0)
    world.add_geom(name="wall", type=box, size=(0.02, 3, 2), pos=(-1.2, 0, 0.5), contype=0, conaffinity=0)


def _add_objects(world: mujoco.MjsBody) -> None:
    for slot in range(OBJECT_SLOTS):
        body = world.add_body(name=f"object{slot}", pos=(_FAR_AWAY[0] - slot, 0, 0))
        body.add_freejoint(name=f"object{slot}")
        body.add_geom(
            name=f"object{slot}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=(MAX_HALF_SIZE,) * 3,
            condim=6,
            friction=(1.0, 0.01, 0.002),
            solref=(0.01, 1.0),
        )


def _add_bin(world: mujoco.MjsBody, name: str) -> None:
    body = world.add_body(name=name, pos=_FAR_AWAY)
    box = mujoco.mjtGeom.mjGEOM_BOX
    width, wall, height = BIN_HALF_WIDTH, 0.005, 0.5 * BIN_WALL_HEIGHT
    grey = (0.35, 0.35, 0.38, 1.0)
    body.add_geom(type=box, size=(width, width, 0.003), pos=(0, 0, 0.003), rgba=grey)
    for sign in (-1, 1):
        body.add_geom(type=box, size=(wall, width + wall, height), pos=(sign * (width + wall), 0, height), rgba=grey)
        body.add_geom(type=box, size=(width + wall, wall, height), pos=(0, sign * (width + wall), height), rgba=grey)


def _add_zones(world: mujoco.MjsBody) -> None:
    for index in range(2):
        body = world.add_body(name=f"zone{index}", pos=_FAR_AWAY)
        body.add_geom(
            name=f"zone{index}",
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            size=(ZONE_RADIUS, 0.0005, 0),
            pos=(0, 0, 0.0005),
            contype=0,
            conaffinity=0,
        )


def _add_cabinet(world: mujoco.MjsBody) -> None:
    """Two drawers side by side; their handles are bars that a closed gripper hooks from above."""
    box = mujoco.mjtGeom.mjGEOM_BOX
    cabinet = world.add_body(name="cabinet", pos=_FAR_AWAY)
    wood = (0.55, 0.42, 0.30, 1.0)
    depth, height, side = 0.10, 0.05, 0.006
    for y in (-DRAWER_SPACING, 0.0, DRAWER_SPACING):
        cabinet.add_geom(type=box, size=(depth, side, height), pos=(depth, y, height), rgba=wood)
    cabinet.add_geom(type=box, size=(side, DRAWER_SPACING, height), pos=(2 * depth, 0, height), rgba=wood)
    for index, sign in enumerate((1, -1)):
        drawer = cabinet.add_body(name=f"drawer{index}", pos=(0, sign * 0.5 * DRAWER_SPACING, 0))
        drawer.add_joint(
            name=f"drawer{index}",
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=(-1, 0, 0),
            range=(0, DRAWER_TRAVEL),
            limited=True,
            damping=(4.0, 0, 0),
            frictionloss=1.0,
        )
        half = 0.5 * DRAWER_SPACING - 0.012
        mass = 0.1
        drawer.add_geom(name=f"drawer{index}_front", type=box, size=(0.006, half, 0.04), pos=(0, 0, 0.05), mass=mass)
        drawer.add_geom(name=f"drawer{index}_lid", type=box, size=(0.085, half, 0.003), pos=(0.09, 0, 0.088), mass=mass)
        drawer.add_geom(
            name=f"drawer{index}_handle",
            type=box,
            size=(0.006, 0.045, 0.008),
            pos=(-HANDLE_OFFSET, 0, HANDLE_HEIGHT),
            mass=mass,
        )
        for y in (-0.045, 0.045):
            drawer.add_geom(
                type=box,
                size=(0.5 * HANDLE_OFFSET, 0.005, 0.005),
                pos=(-0.5 * HANDLE_OFFSET, y, HANDLE_HEIGHT),
                mass=0.02,
                rgba=(0.6, 0.6, 0.6, 1.0),
            )
        drawer.add_site(name=f"handle{index}", pos=(-HANDLE_OFFSET, 0, HANDLE_HEIGHT))
