"""Clouds of eight household shapes, each seen from one side, with noise: what depth cameras give of objects.

A small analog of ModelNet and ScanObjectNN. Surfaces are made of simple parts; what faces away from the camera is left
out, what other parts hide is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from representation.data.clouds import frames_of_clouds
from representation.data.frames import LABEL, Frames

Points = NDArray[np.float64]
Draw = Callable[[int, np.random.Generator], tuple[Points, Points]]
Part = tuple[float, Draw]
"""Area of a part, and what draws points (n, 3) on it with normals (n, 3)."""

NAMES = ("sphere", "box", "cylinder", "cone", "torus", "L-block", "mug", "table")
NOISE = 0.02  # of the largest radius
_DENSE = 4096  # points of a whole surface


def sphere(radius: float) -> Part:
    """A ball."""

    def draw(count: int, rng: np.random.Generator) -> tuple[Points, Points]:
        normals = rng.normal(size=(count, 3))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        return radius * normals, normals

    return 4 * np.pi * radius**2, draw


def box(half: Sequence[float]) -> Part:
    """A box of three half sides."""
    sides = np.array(half)
    areas = 4 * np.array([sides[1] * sides[2], sides[0] * sides[2], sides[0] * sides[1]])

    def draw(count: int, rng: np.random.Generator) -> tuple[Points, Points]:
        axis = rng.choice(3, count, p=areas / areas.sum())
        normals = np.eye(3)[axis] * rng.choice((-1.0, 1.0), (count, 1))
        inside = rng.uniform(-1, 1, (count, 3)) * (normals == 0)
        return (inside + normals) * sides, normals

    return float(2 * areas.sum()), draw


def tube(radius: float, half: float, top: float = 1.0, caps: Sequence[float] = (-1.0, 1.0)) -> Part:
    """An upright cylinder, or a cone where its radius at the top, as a share, is less; with lids at -1 and 1."""
    slant = np.hypot(2 * half, radius * (1 - top))
    side = np.pi * radius * (1 + top) * slant
    lids = {end: np.pi * (radius if end < 0 else radius * top) ** 2 for end in caps}
    areas = np.array([side, *lids.values()])

    def draw(count: int, rng: np.random.Generator) -> tuple[Points, Points]:
        part = rng.choice(len(areas), count, p=areas / areas.sum())
        around, share = rng.uniform(-np.pi, np.pi, count), rng.uniform(0, 1, count)
        # Up the side in proportion to the radius there.
        up = share if top == 1 else (1 - np.sqrt(1 - share * (1 - top**2))) / (1 - top)
        reach, z = radius * (1 - (1 - top) * up), half * (2 * up - 1)
        normals = np.stack(
            [2 * half * np.cos(around), 2 * half * np.sin(around), np.full(count, radius * (1 - top))], 1
        )
        normals /= slant
        for number, end in enumerate(lids, start=1):
            own = part == number
            reach[own] = (radius if end < 0 else radius * top) * np.sqrt(share[own])
            z[own], normals[own] = end * half, (0.0, 0.0, end)
        return np.stack([reach * np.cos(around), reach * np.sin(around), z], axis=1), normals

    return float(areas.sum()), draw


def ring(radius: float, thickness: float, upright: bool = False) -> Part:
    """A torus, lying or upright."""

    def draw(count: int, rng: np.random.Generator) -> tuple[Points, Points]:
        a, b = rng.uniform(-np.pi, np.pi, (2, count))
        normals = np.stack([np.cos(b) * np.cos(a), np.cos(b) * np.sin(a), np.sin(b)], axis=1)
        points = radius * np.stack([np.cos(a), np.sin(a), np.zeros(count)], axis=1) + thickness * normals
        order = [0, 2, 1] if upright else [0, 1, 2]
        return points[:, order], normals[:, order]

    return 4 * np.pi**2 * radius * thickness, draw


def moved(part: Part, way: Sequence[float]) -> Part:
    """A part elsewhere."""
    area, draw = part

    def draw_there(count: int, rng: np.random.Generator) -> tuple[Points, Points]:
        points, normals = draw(count, rng)
        return points + np.asarray(way), normals

    return area, draw_there


def parts_of(name: str, rng: np.random.Generator) -> list[Part]:
    """Parts of a shape, its proportions drawn at random."""
    a, b, c = rng.uniform(0.35, 0.6, 3)
    if name == "sphere":
        return [sphere(a)]
    if name == "box":
        return [box((a, b, c))]
    if name == "cylinder":
        return [tube(0.7 * a, b)]
    if name == "cone":
        return [tube(a, b, top=0.02)]
    if name == "torus":
        return [ring(a, 0.3 * b)]
    if name == "L-block":
        standing = moved(box((0.2, 0.4 * b, c)), (0.2 - a, 0.0, c - 0.1))
        return [moved(box((a, 0.4 * b, 0.2)), (0.0, 0.0, -0.3)), standing]
    if name == "mug":
        return [tube(0.8 * a, b, caps=(-1.0,)), moved(ring(0.5 * b, 0.07, upright=True), (0.8 * a, 0.0, 0.0))]
    if name == "table":
        legs = [(x * (a - 0.08), y * (b - 0.08), -0.1) for x in (-1, 1) for y in (-1, 1)]
        return [moved(box((a, b, 0.05)), (0.0, 0.0, c)), *[moved(box((0.05, 0.05, c)), leg) for leg in legs]]
    raise ValueError(f"shape: expected one of {', '.join(NAMES)}, found {name!r}")


def seen_cloud(parts: Sequence[Part], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Points (count, 3) of what a camera sees of some parts, turned about the vertical, of any size, with noise."""
    areas = np.array([area for area, _ in parts])
    numbers = rng.multinomial(_DENSE, areas / areas.sum())
    drawn = [draw(number, rng) for number, (_, draw) in zip(numbers, parts, strict=True)]
    points, normals = (np.concatenate(one) for one in zip(*drawn, strict=True))
    up, around = rng.uniform(0.3, 1.0), rng.uniform(-np.pi, np.pi)
    eye = np.array([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)])
    points = points[normals @ eye > 0]
    points = points[rng.choice(len(points), count, replace=len(points) < count)]
    points += rng.normal(0, NOISE * np.linalg.norm(points, axis=1).max(), points.shape)
    turn = rng.uniform(-np.pi, np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    return (rng.uniform(0.7, 1.3) * points @ rotation.T).astype(np.float32)


def shapes(count: int, points: int, seed: int) -> Frames:
    """`count` clouds of the eight shapes in turn, labelled."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(NAMES)
    found = np.stack([seen_cloud(parts_of(NAMES[label], rng), points, rng) for label in labels])
    return frames_of_clouds(found, {LABEL: labels}, {LABEL: NAMES})
