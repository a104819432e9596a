"""Chains that are drawn and not recorded: `python -m representation.generative.progae.ensembles --output DIR`.

`frenet_chains` are curves of random curvature; `helix_hinge` is the backbone of a protein of two helices, about whose
hinge they open and close, which the command writes as a trajectory, in angstrom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from representation.data.frames import expect_empty
from representation.generative.progae.chains import Chains, write_chains

SUBSTEPS = 8  # of the integration of a frame, by bond
# Of a peptide: lengths of N-CA, CA-C and C-N, angstrom; angles at CA, C and N, degrees; phi and psi of a helix.
LENGTHS, ANGLES, HELIX = (1.458, 1.525, 1.329), (111.0, 116.6, 121.7), (-57.0, -47.0)
JITTER, OPENING = 2.0, 60.0  # degrees: of every angle of turning; by how much the hinge turns


@dataclass(frozen=True)
class EnsembleOptions:
    """What is drawn.

    Attributes:
        output: directory to write; must not hold files.
        count: frames.
        residues: of the protein.
        seed: of everything that is drawn.
    """

    output: Path
    count: int = 1000
    residues: int = 20
    seed: int = 0


def frenet_chains(
    count: int, n_nodes: int, seed: int, turns: Literal["any", "z"] = "any"
) -> tuple[Tensor, NDArray[np.float64]]:
    """Curves of unit length whose curvature is a constant and two waves, with constant torsion.

    k(s) = k0 + a1 sin(2 pi s + p1) + a2 sin(4 pi s + p2), with k0 in (0, 4), a in (0, 3) and torsion in (-2, 2).

    Args:
        count: B.
        n_nodes: n.
        seed: of everything that is drawn.
        turns: rotations that they are turned by: any, or about z.

    Returns:
        Positions (B, n, 3) about their means, and k0 and torsion (B, 2), both by unit of length.

    Raises:
        ValueError: no chain, fewer than 3 nodes, or other turns.
    """
    if count < 1 or n_nodes < 3 or turns not in ("any", "z"):
        raise ValueError(
            f"count, n_nodes, turns: expected at least 1, 3, and any or z, found {count}, {n_nodes} and {turns!r}"
        )
    rng = np.random.default_rng(seed)
    constant, torsion = rng.uniform(0, 4, count), rng.uniform(-2, 2, count)
    amplitudes, phases = rng.uniform(0, 3, (2, count)), rng.uniform(0, 2 * np.pi, (2, count))
    steps = (n_nodes - 1) * SUBSTEPS
    frame, place = np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3))
    places = [place]
    for step in range(steps):
        waves = 2 * np.pi * np.array([[1.0], [2.0]]) * (step + 0.5) / steps + phases
        curvature = constant + (amplitudes * np.sin(waves)).sum(axis=0)
        # Columns of the frame are tangent, normal and binormal; it turns about its own axes, half before each move.
        turn = np.stack([torsion, np.zeros(count), curvature], axis=1) / (2 * steps)
        half = Rotation.from_rotvec(turn).as_matrix()
        middle = frame @ half
        place = place + middle[:, :, 0] / steps
        frame = middle @ half
        places.append(place)
    chains = np.stack(places[::SUBSTEPS], axis=1)
    chains -= chains.mean(axis=1, keepdims=True)
    yaw = rng.uniform(-np.pi, np.pi, count)
    whole = Rotation.random(count, rng=rng) if turns == "any" else Rotation.from_euler("z", yaw[:, None])
    found = chains @ whole.as_matrix().transpose(0, 2, 1)
    return torch.from_numpy(found).float(), np.stack([constant, torsion], axis=1)


def helix_hinge(count: int, residues: int, seed: int) -> Chains:
    """Backbones N, CA, C, N, ... of two helices with a hinge between them, in angstrom; one episode.

    Args:
        count: frames.
        residues: at least 4.
        seed: of how far the hinge is open, and of the jitter of all angles.

    Raises:
        ValueError: no frame, or fewer residues.
    """
    if count < 1 or residues < 4:
        raise ValueError(f"count, residues: expected at least 1 and 4, found {count} and {residues}")
    rng = np.random.default_rng(seed)
    # By atom: how the bond to it is turned about the bond before. Psi turns the next N, omega the CA, phi the C.
    turns = np.tile([HELIX[1], 180.0, HELIX[0]], residues)[None] + rng.normal(0, JITTER, (count, 3 * residues))
    middle = 3 * (residues // 2)
    turns[:, [middle, middle + 2]] += rng.uniform(-OPENING, OPENING, (count, 2))
    turns = np.deg2rad(turns)
    lengths, angles = np.roll(LENGTHS, 1), np.deg2rad(np.roll(ANGLES, -1))  # to the atom; at the atom before
    first, second = LENGTHS[:2]
    bend = np.deg2rad(ANGLES[0])
    start = [(0.0, 0.0, 0.0), (first, 0.0, 0.0), (first - second * np.cos(bend), second * np.sin(bend), 0.0)]
    atoms = [np.tile(place, (count, 1)) for place in start]
    for number in range(3, 3 * residues):
        kind = number % 3
        atoms.append(_placed(atoms[-3:], lengths[kind], angles[kind], turns[:, number, None]))
    return Chains(np.stack(atoms, axis=1).astype(np.float32), np.zeros(count, np.int64))


def _placed(before: Sequence[NDArray], length: float, angle: float, turn: NDArray) -> NDArray[np.float64]:
    """The next atom (B, 3) after three others (B, 3), by its bond's length, angle and turn."""
    a, b, c = before
    along = (c - b) / np.linalg.norm(c - b, axis=1, keepdims=True)
    normal = np.cross(b - a, along)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    across = np.cross(normal, along)
    away = np.sin(angle) * (np.cos(turn) * across + np.sin(turn) * normal)
    return c + length * (-np.cos(angle) * along + away)


def main(args: Sequence[str] | None = None) -> None:
    """Write an ensemble of `helix_hinge`."""
    options = tyro.cli(EnsembleOptions, args=args, description=__doc__)
    expect_empty(options.output)
    write_chains(helix_hinge(options.count, options.residues, options.seed), options.output)
    print(f"{options.output}: {options.count} frames of {options.residues} residues, angstrom")


if __name__ == "__main__":
    main()
