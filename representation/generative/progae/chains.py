"""Chains in files and simulators: npz trajectories, cables of MuJoCo, backbones of PDB text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from representation.data.array_files import read_arrays

FILE = "chains.npz"
MAX_BYTES, MAX_LINES, MAX_ATOMS = 512 * 2**20, 2_000_000, 200_000
PDB, BACKBONE = (".pdb", ".ent"), ("N", "CA", "C")
REACH = 10_000.0  # angstrom, beyond which PDB has no columns
MAX_BOND = 2.5  # angstrom: two neighbours farther apart have something between them that is missing


@dataclass(frozen=True)
class Chains:
    """Frames of one chain, or of several of the same number of nodes.

    Attributes:
        positions: (F, n, 3), metres (or angstrom, as whoever wrote them says).
        episode: (F,) whole numbers: what was recorded together.
    """

    positions: NDArray[np.float32]
    episode: NDArray[np.int64]

    def __post_init__(self) -> None:
        shape = self.positions.shape
        if len(shape) != 3 or shape[2] != 3 or shape[1] < 3 or not shape[0] or self.episode.shape != shape[:1]:
            raise ValueError(
                f"chains: expected positions (F, n, 3) of at least 3 nodes and F episodes, found {shape} and "
                f"{self.episode.shape}"
            )
        if not np.isfinite(self.positions).all():
            raise ValueError("chains: expected finite positions, found others")

    @property
    def n_nodes(self) -> int:
        """Nodes n of a chain."""
        return int(self.positions.shape[1])

    @property
    def bond(self) -> float:
        """Mean length of a bond."""
        return float(np.linalg.norm(np.diff(self.positions, axis=1), axis=2).mean())

    def subset(self, rows: NDArray) -> Chains:
        """Some of the frames."""
        return Chains(self.positions[rows], self.episode[rows])

    def split(self, held_out: float) -> tuple[Chains, Chains]:
        """Frames to train on, and those of a share of the episodes, the last ones.

        Raises:
            ValueError: no two episodes.
        """
        episodes = np.unique(self.episode)
        if len(episodes) < 2 or not 0 < held_out < 1:
            raise ValueError(
                f"episodes, held_out: expected at least 2 and a share in (0, 1), found {len(episodes)} and {held_out}"
            )
        apart = np.isin(self.episode, episodes[-max(1, math.floor(held_out * len(episodes))) :])
        return self.subset(~apart), self.subset(apart)


def write_chains(chains: Chains, directory: Path) -> None:
    """Write what `read_chains` reads, into a directory that is made if it is not there."""
    directory.mkdir(parents=True, exist_ok=True)
    np.savez(directory / FILE, positions=chains.positions, episode=chains.episode)


def read_chains(path: Path) -> Chains:
    """Read trajectories: an npz file with `positions` (F, n, 3), and `episode` (F,) if there are several.

    Args:
        path: the file, or a directory with `chains.npz`.

    Raises:
        FileNotFoundError: there is none; says how to make one.
        ValueError: damaged, of other shapes, or larger than 512 MiB.
    """
    path = path / FILE if path.is_dir() or not path.suffix else path
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected chains; python -m sim.cables --output {path.parent}")
    found = read_arrays(path, MAX_BYTES, ("positions", "episode"))
    positions, episode = found.get("positions"), found.get("episode")
    if positions is None or positions.dtype.kind != "f" or (episode is not None and episode.dtype.kind not in "iu"):
        kinds = {name: (value.dtype.str, value.shape) for name, value in found.items()}
        raise ValueError(f"{path}: expected positions (F, n, 3), and whole numbers of episodes, found {kinds}")
    if episode is None:
        episode = np.zeros(len(positions) if positions.ndim else 0, np.int64)
    try:
        return Chains(positions.astype(np.float32), episode.astype(np.int64))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def open_chains(path: Path) -> Chains:
    """Chains of a file: PDB text (`.pdb`, `.ent`), or else what `read_chains` reads; errors as theirs."""
    return read_backbone(path) if path.suffix.lower() in PDB else read_chains(path)


def chain_from_mujoco(model: Any, data: Any, prefix: str) -> NDArray[np.float64]:
    """Where the nodes of a chain of a simulation are.

    Args:
        model: an `MjModel`.
        data: its `MjData`, whose poses are up to date.
        prefix: name of a one-dimensional flex, whose vertices are the nodes; or what the names of bodies begin with
            that end on numbers from 0 on, `cable0`, `cable1`, ..., whose origins are the nodes.

    Returns:
        Positions (n, 3), metres, in the frame of the world.

    Raises:
        ValueError: neither is there, a flex of more dimensions, or a number that is missing.
    """
    for number in range(model.nflex):
        name = model.names[model.name_flexadr[number] :].split(b"\0", 1)[0].decode()
        if name == prefix:
            if model.flex_dim[number] != 1:
                raise ValueError(
                    f"prefix: expected a flex of 1 dimension, found {model.flex_dim[number]} of {prefix!r}"
                )
            first = model.flex_vertadr[number]
            return np.array(data.flexvert_xpos[first : first + model.flex_vertnum[number]])
    names = [model.body(number).name for number in range(model.nbody)]
    places = {}
    for number, name in enumerate(names):
        tail = name[len(prefix) :]
        if name.startswith(prefix) and tail.isascii() and tail.isdigit():
            places[int(tail)] = number
    if len(places) < 3 or sorted(places) != list(range(len(places))):
        raise ValueError(
            f"prefix: expected a flex of the name {prefix!r}, or at least 3 bodies {prefix}0, {prefix}1, ..., found "
            f"bodies {sorted(places)[:10]}"
        )
    return np.array([data.xpos[places[number]] for number in range(len(places))])


def read_backbone(path: Path, chain: str | None = None) -> Chains:
    """Read the backbone of a protein from text in the format of the PDB.

    Of each residue the ATOM records of N, CA and C are taken, in this order; of alternative places the first. Every
    MODEL is a frame of one episode.

    Args:
        path: the file.
        chain: letter of the chain that is read; None for the first that comes.

    Returns:
        Frames (F, 3 residues, 3), angstrom.

    Raises:
        FileNotFoundError: there is none.
        ValueError: not such text, a residue without one of the three, gaps between residues, models of different
            length, or too large; names the line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a PDB file, found none")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: expected at most {MAX_BYTES} bytes, found {path.stat().st_size}")
    frames: list[NDArray[np.float32]] = []
    atoms: dict[tuple[str, str], tuple[float, ...]] = {}
    try:
        with path.open(encoding="ascii") as file:
            for number, line in enumerate(file, start=1):
                if number > MAX_LINES:
                    raise ValueError(f"{path}: expected at most {MAX_LINES} lines, found more")
                kind = line[:6].rstrip()
                if kind in ("ENDMDL", "MODEL") and atoms:
                    frames.append(_backbone(atoms, path))
                    atoms = {}
                if kind != "ATOM" or line[12:16].strip() not in BACKBONE:
                    continue
                chain = line[21:22] if chain is None else chain
                if line[21:22] == chain:
                    place = _place(line, f"{path} line {number}")
                    atoms.setdefault((line[22:27], line[12:16].strip()), place)
                    if len(atoms) > MAX_ATOMS:
                        raise ValueError(f"{path}: expected at most {MAX_ATOMS} atoms, found more")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected ASCII text, found {error}") from error
    if atoms:
        frames.append(_backbone(atoms, path))
    if not frames:
        raise ValueError(f"{path}: expected ATOM records of {', '.join(BACKBONE)}, found none of chain {chain!r}")
    if len({len(frame) for frame in frames}) > 1:
        raise ValueError(
            f"{path}: expected models of one length, found {sorted({len(f) // 3 for f in frames})} residues"
        )
    return Chains(np.stack(frames), np.zeros(len(frames), np.int64))


def _place(line: str, where: str) -> tuple[float, ...]:
    """Coordinates of an ATOM record, angstrom."""
    texts = (line[30:38], line[38:46], line[46:54])
    try:
        place = tuple(float(text) for text in texts)
    except ValueError as error:
        raise ValueError(f"{where}: expected three numbers in columns 31 to 54, found {texts}") from error
    if not all(abs(value) < REACH for value in place):
        raise ValueError(f"{where}: expected coordinates below {REACH:g} angstrom, found {texts}")
    return place


def _backbone(atoms: dict[tuple[str, str], tuple[float, ...]], path: Path) -> NDArray[np.float32]:
    """Positions (3 residues, 3) of one model."""
    residues = list(dict.fromkeys(residue for residue, _ in atoms))
    for residue in residues:
        missing = [name for name in BACKBONE if (residue, name) not in atoms]
        if missing:
            raise ValueError(
                f"{path}: expected {', '.join(BACKBONE)} of residue {residue.strip()}, found no {missing[0]}"
            )
    places = np.array([atoms[residue, name] for residue in residues for name in BACKBONE], np.float32)
    apart = np.linalg.norm(np.diff(places, axis=0), axis=1)
    if len(apart) and apart.max() > MAX_BOND:
        gap = residues[int(apart.argmax()) // 3].strip()
        raise ValueError(
            f"{path}: expected neighbours at most {MAX_BOND} angstrom apart, found {apart.max():.1f} after {gap}"
        )
    return places


def checked_rows(rows: ArrayLike, count: int, name: str) -> NDArray[np.int64]:
    """Numbers of frames, from 0 to count - 1.

    Raises:
        ValueError: others; names them.
    """
    found = np.asarray(rows, np.int64).ravel()
    if not len(found) or found.min() < 0 or found.max() >= count:
        raise ValueError(f"{name}: expected frames from 0 to {count - 1}, found {found[:10].tolist()}")
    return found
