"""Offscreen rendering: colour and depth of a MuJoCo camera in one pass, as an aligned RGB-D camera gives them.

Two profiles, which are part of an evaluation's protocol: `fast` for training and evaluation, `quality` for pictures
that people look at. Depth is z-depth on the grid of a real sensor (0.1 mm), so that 16-bit storage loses nothing, and
is the same in both profiles.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

import mujoco
import numpy as np
from numpy.typing import NDArray

DEPTH_UNIT = 1e-4
"""Resolution of the depth sensor, metres."""

DEPTH_RANGE = 3.0
"""Largest depth that the sensor reports, metres; what lies beyond is unknown (NaN)."""

GL_BACKENDS = ("egl", "osmesa")
"""Headless OpenGL backends of MuJoCo, in the order in which they are tried."""

_PROBE = """
import mujoco
from mujoco.{backend} import GLContext
context = GLContext(8, 8)
context.make_current()
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><geom size="1"/></worldbody></mujoco>')
renderer = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, renderer)
if renderer.currentBuffer != mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value:
    raise RuntimeError('no offscreen framebuffer')
renderer.free()
context.free()
"""


@dataclass(frozen=True, slots=True)
class RenderProfile:
    """How finely shapes are drawn, and what beyond plain lit geometry.

    Attributes:
        slices: facets around a round shape; half as many along it.
        samples: multisampling of colour edges; 0 switches it off.
        shadow_size: width of the shadow map in pixels; 0 switches shadows off.
        reflections: whether reflective materials mirror the scene.
        skybox: whether the model's skybox texture is drawn behind the scene.
    """

    slices: int
    samples: int
    shadow_size: int
    reflections: bool
    skybox: bool


PROFILES = {
    "fast": RenderProfile(slices=16, samples=0, shadow_size=0, reflections=False, skybox=False),
    "quality": RenderProfile(slices=28, samples=4, shadow_size=1024, reflections=True, skybox=True),
}


def intrinsics(fovy_deg: float, width: int, height: int) -> NDArray[np.float64]:
    """Pinhole matrix of a MuJoCo camera with square pixels.

    Args:
        fovy_deg: vertical field of view, degrees.
        width: image width, pixels.
        height: image height, pixels.

    Returns:
        (3, 3) float64 in pixels; the centre of the top-left pixel is (0.5, 0.5), so the principal point is (W/2, H/2).
    """
    if not 0 < fovy_deg < 180:
        raise ValueError(f"fovy_deg: expected between 0 and 180 degrees, found {fovy_deg}")
    focal = 0.5 * height / np.tan(0.5 * np.deg2rad(fovy_deg))
    return np.array([[focal, 0.0, 0.5 * width], [0.0, focal, 0.5 * height], [0.0, 0.0, 1.0]])


def quantise_depth(depth: NDArray) -> NDArray[np.float32]:
    """Round depth to the sensor's grid; what is not in (0, `DEPTH_RANGE`] becomes NaN.

    Args:
        depth: metres, any shape.

    Returns:
        float32 metres `k * DEPTH_UNIT` with whole k, multiplied in float32: a reader of k as uint16 that computes
        `np.float32(k) * np.float32(1e-4)` gets the same bits.
    """
    steps = np.rint(np.asarray(depth, dtype=np.float32) * np.float32(1.0 / DEPTH_UNIT))
    unknown = (steps < 1) | (steps > round(DEPTH_RANGE / DEPTH_UNIT))
    metres = np.multiply(steps, np.float32(DEPTH_UNIT), out=steps)
    metres[unknown] = np.nan
    return metres


def choose_gl_backend() -> str:
    """Find a headless OpenGL backend that works here and select it for this process and its children.

    A backend already named by the environment variable `MUJOCO_GL` is taken as it is. Otherwise each of `GL_BACKENDS`
    is tried in a process of its own, since a failed attempt cannot be undone and may crash; the choice is left in
    `MUJOCO_GL` and `PYOPENGL_PLATFORM`, so that child processes do not probe again. Unless the environment says
    otherwise, Mesa's software renderer is kept to the calling thread (`LP_NUM_THREADS=0`): workers share the cores
    better than its threads do, and small pictures gain nothing from them.

    Returns:
        `egl` or `osmesa`.

    Raises:
        ValueError: `MUJOCO_GL` names another backend.
        RuntimeError: no backend works; says what to install.
    """
    chosen = os.environ.get("MUJOCO_GL", "").strip().lower()
    if chosen and chosen not in GL_BACKENDS:
        raise ValueError(f"MUJOCO_GL: expected one of {', '.join(GL_BACKENDS)} or unset, found {chosen!r}")
    if not chosen:
        chosen = _first_working_backend()
    os.environ["MUJOCO_GL"] = chosen
    os.environ["PYOPENGL_PLATFORM"] = chosen
    os.environ.setdefault("LP_NUM_THREADS", "0")
    return chosen


def _first_working_backend() -> str:
    failures = []
    for backend in GL_BACKENDS:
        environment = os.environ | {"MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
        command = [sys.executable, "-c", _PROBE.format(backend=backend)]
        try:
            probe = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            failures.append(f"{backend}: no answer within 60 s")
            continue
        if probe.returncode == 0:
            return backend
        reason = probe.stderr.strip().splitlines() or [f"exit status {probe.returncode}"]
        failures.append(f"{backend}: {reason[-1]}")
    raise RuntimeError(
        "no headless OpenGL backend works, so cameras cannot be rendered ("
        + "; ".join(failures)
        + "). On Debian or Ubuntu install EGL (apt-get install libegl1 libgl1-mesa-dri) or OSMesa "
        "(apt-get install libosmesa6)."
    )


_process_with_gl: int | None = None


def _create_gl_context(width: int, height: int) -> mujoco.GLContext:
    global _process_with_gl
    if _process_with_gl not in (None, os.getpid()):
        raise RuntimeError(
            "OpenGL was used before this process was forked and cannot be used after; start workers with the 'spawn' "
            "or 'forkserver' method (AsyncVectorEnv: context='spawn')"
        )
    backend = choose_gl_backend()
    # Named directly because `mujoco.GLContext` was bound to whatever MUJOCO_GL said when mujoco was first imported.
    context = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
    _process_with_gl = os.getpid()
    return context


class OffscreenRenderer:
    """Renders the cameras of one model at one size.

    The model's arrays (geom types, sizes, colours, poses, lights, camera poses) are read at every frame and may change
    in between; meshes and textures are uploaded once, here. One renderer belongs to one thread.
    """

    def __init__(self, model: mujoco.MjModel, width: int, height: int, profile: str = "fast") -> None:
        """Create the OpenGL context and buffers.

        Args:
            model: the compiled model; it is left unchanged.
            width: image width, pixels.
            height: image height, pixels.
            profile: name in `PROFILES`.

        Raises:
            ValueError: unknown profile or a size below one pixel.
            RuntimeError: OpenGL is not available (see `choose_gl_backend`), or was used before a fork.
        """
        if profile not in PROFILES:
            raise ValueError(f"profile: expected one of {', '.join(PROFILES)}, found {profile!r}")
        if width < 1 or height < 1:
            raise ValueError(f"image size: expected at least 1 x 1 pixels, found {width} x {height}")
        self.width, self.height, self.profile = width, height, profile
        self._model = model
        settings = PROFILES[profile]
        self._colour = _Framebuffer(model, width, height, settings)
        # A multisampled buffer resolves to depth beside the pixel's centre (millimetres off on slanted surfaces), so
        # depth then comes from a plain buffer; with a context of its own, or the two would share the light's state.
        self._depth = _Framebuffer(model, width, height, PROFILES["fast"]) if settings.samples else self._colour
        self._scene = mujoco.MjvScene(model, maxgeom=model.ngeom + model.nsite + 100)
        _set_flags(self._scene, settings)
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED.value
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._open = True

    def render(self, data: mujoco.MjData, camera_name: str) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Take one picture.

        Args:
            data: state whose poses are up to date (after `mj_forward` or `mj_step`).
            camera_name: a camera of the model.

        Returns:
            Colour (H, W, 3) uint8 and depth (H, W) float32: metres along the optical axis on the sensor's grid, NaN
            beyond `DEPTH_RANGE`. Row 0 is the top.

        Raises:
            ValueError: the model has no such camera.
            RuntimeError: the renderer is closed.
        """
        self._aim(data, camera_name)
        rgb = np.empty((self.height, self.width, 3), dtype=np.uint8)
        buffer = np.empty((self.height, self.width), dtype=np.float32)
        self._colour.draw(self._scene, self._viewport, rgb, buffer)
        if self._depth is not self._colour:
            self._depth.draw(self._scene, self._viewport, None, buffer)
        lens = self._scene.camera[0]
        depth = _metres(np.flipud(buffer), lens.frustum_near, lens.frustum_far)
        return np.ascontiguousarray(np.flipud(rgb)), quantise_depth(depth)

    def render_geoms(self, data: mujoco.MjData, camera_name: str) -> NDArray[np.int32]:
        """Tell what each pixel shows; arguments and errors as in `render`.

        Returns:
            Number of the geom (H, W); -1 where there is none.
        """
        self._aim(data, camera_name)
        flags = self._scene.flags
        rgb = np.empty((self.height, self.width, 3), dtype=np.uint8)
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = True
        try:
            self._depth.draw(self._scene, self._viewport, rgb, np.empty((self.height, self.width), dtype=np.float32))
        finally:
            flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = False
        # A shape's number is its colour, less one; 0 is the background.
        shown = np.flipud(rgb).astype(np.int32) @ np.array([1, 1 << 8, 1 << 16], dtype=np.int32)
        geoms = np.full(self._scene.ngeom + 1, -1, dtype=np.int32)
        for shape in self._scene.geoms[: self._scene.ngeom]:
            if shape.segid >= 0 and shape.objtype == mujoco.mjtObj.mjOBJ_GEOM.value:
                geoms[shape.segid + 1] = shape.objid
        return geoms[shown]

    def _aim(self, data: mujoco.MjData, camera_name: str) -> None:
        """Bring the scene up to date, seen by a camera."""
        if not self._open:
            raise RuntimeError("renderer: expected open, found closed")
        camera_id = mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_CAMERA.value, camera_name)
        if camera_id < 0:
            names = [self._model.camera(index).name for index in range(self._model.ncam)]
            raise ValueError(f"camera_name: expected one of {', '.join(names)}, found {camera_name!r}")
        self._camera.fixedcamid = camera_id
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._option, None, self._camera, everything, self._scene)

    def close(self) -> None:
        """Free the OpenGL resources; closing twice is harmless."""
        if not self._open:
            return
        self._open = False
        self._colour.free()
        if self._depth is not self._colour:
            self._depth.free()

    def __enter__(self) -> OffscreenRenderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Framebuffer:
    """An OpenGL context with an offscreen buffer of one size."""

    def __init__(self, model: mujoco.MjModel, width: int, height: int, profile: RenderProfile) -> None:
        self._gl = _create_gl_context(width, height)
        self._gl.make_current()
        with _buffer_settings(model, width, height, profile):
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        # The buffer is stored far = 0, near = 1; read as stored it keeps its full precision at a distance.
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR.value

    def draw(
        self, scene: mujoco.MjvScene, viewport: mujoco.MjrRect, rgb: NDArray[np.uint8] | None, depth: NDArray
    ) -> None:
        """Draw the scene once and read both buffers (bottom row first)."""
        self._gl.make_current()
        mujoco.mjr_render(viewport, scene, self._context)
        mujoco.mjr_readPixels(rgb, depth, viewport, self._context)

    def free(self) -> None:
        self._gl.make_current()
        self._context.free()
        self._gl.free()


@contextmanager
def _buffer_settings(model: mujoco.MjModel, width: int, height: int, profile: RenderProfile) -> Iterator[None]:
    """Set in the model what MuJoCo reads there when it creates a context, and restore it."""
    screen, quality = model.vis.global_, model.vis.quality
    settings = (
        (screen, "offwidth", width),
        (screen, "offheight", height),
        (quality, "offsamples", profile.samples),
        (quality, "shadowsize", profile.shadow_size),
        (quality, "numslices", profile.slices),
        (quality, "numstacks", profile.slices // 2),
        (quality, "numquads", 1),
    )
    before = [getattr(section, name) for section, name, _ in settings]
    for section, name, value in settings:
        setattr(section, name, value)
    try:
        yield
    finally:
        for (section, name, _), value in zip(settings, before, strict=True):
            setattr(section, name, value)


def _set_flags(scene: mujoco.MjvScene, profile: RenderProfile) -> None:
    flag = mujoco.mjtRndFlag
    scene.flags[flag.mjRND_SHADOW] = profile.shadow_size > 0
    scene.flags[flag.mjRND_REFLECTION] = profile.reflections
    scene.flags[flag.mjRND_SKYBOX] = profile.skybox
    scene.flags[flag.mjRND_FOG] = False
    scene.flags[flag.mjRND_HAZE] = False


def _metres(buffer: NDArray[np.float32], near: float, far: float) -> NDArray[np.float32]:
    """Invert the perspective mapping of a depth buffer that holds 1 at `near` and 0 at `far`."""
    return np.float32(near * far) / (buffer * np.float32(far - near) + np.float32(near))
