"""`SceneGraph`: things as nodes, what touches and what bears what as edges; a file of them, a line of JSON each.

A line of `scene_graphs.jsonl`, as `python -m sim.scene_graphs` writes it:

    {"nodes": [{"kind": "table", "half_size": [0.6, 0.6, 0.05], "position": [0.0, 0.0, -0.05]}, ...],
     "contacts": [[0, 1], ...], "supports": [[0, 1], ...]}

Metres; `half_size` along the thing's own axes. Nodes are counted from 0. A contact is a pair (smaller, larger); a
support is (what bears, what is borne), and also a contact.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FILE = "scene_graphs.jsonl"
MAX_LINE, MAX_NODES, MAX_GRAPHS = 1_000_000, 1000, 1_000_000


@dataclass(frozen=True)
class SceneNode:
    """A thing.

    Attributes:
        kind: such as `table` or `block`.
        half_size: (3,) m, along its own axes.
        position: (3,) m, of its centre.
    """

    kind: str
    half_size: tuple[float, float, float]
    position: tuple[float, float, float]


@dataclass(frozen=True)
class SceneGraph:
    """Things and how they stand to each other.

    Attributes:
        nodes: n things.
        contacts: pairs (smaller, larger) of nodes that touch.
        supports: pairs (what bears, what is borne).
    """

    nodes: tuple[SceneNode, ...]
    contacts: tuple[tuple[int, int], ...]
    supports: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        n = len(self.nodes)
        for name in ("contacts", "supports"):
            for a, b in getattr(self, name):
                if not (0 <= a < n and 0 <= b < n) or a == b:
                    raise ValueError(f"{name}: expected pairs of the {n} nodes, found {(a, b)}")
        if len(set(self.contacts)) != len(self.contacts) or any(a > b for a, b in self.contacts):
            raise ValueError(f"contacts: expected each pair once, the smaller first, found {self.contacts}")
        touching = {tuple(sorted(pair)) for pair in self.supports}
        if not touching <= set(self.contacts) or len(touching) != len(self.supports):
            raise ValueError(f"supports: expected some of the contacts, each once, found {self.supports}")

    @property
    def edge_index(self) -> Tensor:
        """Contacts (2, E) in both directions."""
        once = torch.tensor(self.contacts, dtype=torch.long).reshape(-1, 2).T
        return torch.cat([once, once.flip(0)], dim=1)

    @property
    def bears(self) -> NDArray[np.int64]:
        """(n,) how many things each bears."""
        return np.bincount([a for a, _ in self.supports], minlength=len(self.nodes))


def write_scene_graphs(graphs: Sequence[SceneGraph], directory: Path) -> Path:
    """Write them into a directory; returns the file."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / FILE
    path.write_text("".join(json.dumps(asdict(graph)) + "\n" for graph in graphs), encoding="utf-8")
    return path


def read_scene_graphs(directory: Path) -> list[SceneGraph]:
    """Read them.

    Raises:
        FileNotFoundError: there are none; says how to make them.
        ValueError: a line is none; names it.
    """
    path = directory / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected scene graphs; python -m sim.scene_graphs --output {directory}")
    graphs = []
    with path.open(encoding="utf-8") as file:
        while line := file.readline(MAX_LINE + 1):
            number = len(graphs) + 1
            if len(line) > MAX_LINE or number > MAX_GRAPHS:
                raise ValueError(f"{path}, line {number}: expected at most {MAX_LINE} characters, {MAX_GRAPHS} lines")
            try:
                graphs.append(_graph(json.loads(line)))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(f"{path}, line {number}: expected a scene graph: {error!r:.200}") from error
    return graphs


def _graph(content: Any) -> SceneGraph:
    nodes = tuple(
        SceneNode(str(node["kind"]), _numbers(node["half_size"]), _numbers(node["position"]))
        for node in content["nodes"]
    )
    if len(nodes) > MAX_NODES:
        raise ValueError(f"nodes: expected at most {MAX_NODES}, found {len(nodes)}")
    return SceneGraph(nodes, _pairs(content["contacts"]), _pairs(content["supports"]))


def _numbers(values: Any) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    if not np.isfinite((x, y, z)).all():
        raise ValueError(f"expected finite numbers, found {values}")
    return x, y, z


def _pairs(values: Any) -> tuple[tuple[int, int], ...]:
    pairs = []
    for a, b in values:
        if type(a) is not int or type(b) is not int:
            raise ValueError(f"expected whole numbers of nodes, found {(a, b)!r}")
        pairs.append((a, b))
    return tuple(pairs)
