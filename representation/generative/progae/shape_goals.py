"""Goals for a cable by its codes: `python -m representation.generative.progae.shape_goals --model DIR --data DIR`.

The goal has the shape of one frame and the pose of another: it is decoded from the code of shape of the first and the
code of directions of the second, and lies where the second lies. On the way there, one of the codes goes over, step by
step, while the other stays. `goals.npz` has the nodes of each step, as `read_chains` reads them, `goals.png` a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from torch import Tensor

from representation.data.frames import expect_empty
from representation.generative.progae.chains import Chains, checked_rows, open_chains
from representation.generative.progae.geometry import centred
from representation.generative.progae.model import ChainCode, ProGAE, load

GOALS_FILE, PICTURE_FILE = "goals.npz", "goals.png"
Way = Literal["shape", "pose"]


@dataclass(frozen=True)
class GoalOptions:
    """What is asked.

    Attributes:
        model: directory of a trained model.
        data: chains with as many nodes as those it decodes.
        output: directory to write; must not hold files.
        shape_of: number of the frame that gives the shape.
        pose_of: number of the frame that gives the pose.
        way: what changes along the way: the shape, from that of the pose's frame, or the pose, from that of the
            shape's frame.
        steps: of the way, the goal last.
    """

    model: Path
    data: Path
    output: Path
    shape_of: int = 0
    pose_of: int = 1
    way: Way = "shape"
    steps: int = 5


@torch.no_grad()
def shape_goals(model: ProGAE, shape: Tensor, pose: Tensor, way: Way = "shape", steps: int = 1) -> Tensor:
    """Chains from one that is there to the goal.

    Args:
        model: a trained one.
        shape: nodes (n, 3) of the chain whose shape the goal has.
        pose: nodes (n, 3) of the chain as which the goal lies.
        way: which code changes; with `shape` the way begins with `pose` as it comes back, else with `shape`.
        steps: of the way; 1 for the goal alone.

    Returns:
        Nodes (steps, n, 3) about the mean of `pose`, in the unit of the model; the last is the goal.

    Raises:
        ValueError: another way, no steps, or chains of other shapes.
    """
    if way not in ("shape", "pose") or steps < 1:
        raise ValueError(f"way, steps: expected shape or pose, and at least 1, found {way!r} and {steps}")
    wanted = model.config.n_nodes
    if shape.shape != (wanted, 3) or pose.shape != (wanted, 3):
        raise ValueError(f"chains: expected ({wanted}, 3), found {tuple(shape.shape)} and {tuple(pose.shape)}")
    code = model.encode(torch.stack([shape, pose]))
    start, end = (1, 0) if way == "shape" else (0, 1)
    share = torch.linspace(1 if steps == 1 else 0, 1, steps, dtype=shape.dtype)[:, None]
    moving, still = (code.intrinsic, code.extrinsic[1]) if way == "shape" else (code.extrinsic, code.intrinsic[0])
    along, fixed = moving[start] + share * (moving[end] - moving[start]), still.expand(steps, -1)
    asked = ChainCode(along, fixed) if way == "shape" else ChainCode(fixed, along)
    return model.decode(asked) + pose.mean(dim=0)


def draw_goals(rows: Sequence[tuple[Tensor, Tensor, Tensor]], file: Path) -> None:
    """Draw, for each triple of chains (n, 3) of shape and pose and of the way (K, n, 3), one row of projections.

    Each is drawn in the plane in which the goal is widest, about its mean.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    count = 2 + len(rows[0][2])
    figure, axes = plt.subplots(len(rows), count, figsize=(1.5 * count, 1.5 * len(rows)), squeeze=False, dpi=90)
    for row, (shape, pose, goals) in zip(axes, rows, strict=True):
        plane = torch.linalg.svd(centred(goals[-1]))[2][:2]
        chains = [shape, pose, *goals]
        names = ["shape of", "pose of", *[""] * (len(goals) - 1), "goal"]
        reach = max(float(centred(chain).norm(dim=1).max()) for chain in chains) * 1.05
        for axis, chain, name in zip(row, chains, names, strict=True):
            flat = (centred(chain) @ plane.T).numpy()
            axis.plot(*flat.T, color="tab:blue" if name.endswith("of") else "tab:red", linewidth=1.5)
            axis.plot(*flat[0], "k.", markersize=4)
            axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
            axis.set_title(name, fontsize=7)
    figure.tight_layout(pad=0.3)
    figure.savefig(file)
    plt.close(figure)


def main(args: Sequence[str] | None = None) -> None:
    """Write goals and their picture."""
    options = tyro.cli(GoalOptions, args=args, description=__doc__)
    expect_empty(options.output)
    model, chains = load(options.model), open_chains(options.data)
    rows = checked_rows((options.shape_of, options.pose_of), len(chains.positions), "shape_of, pose_of")
    shape, pose = torch.from_numpy(chains.positions[rows])
    goals = shape_goals(model, shape, pose, options.way, options.steps)
    options.output.mkdir(parents=True, exist_ok=True)
    found = Chains(goals.numpy(), np.zeros(len(goals), np.int64))
    np.savez(options.output / GOALS_FILE, positions=found.positions, episode=found.episode)
    draw_goals([(shape, pose, goals)], options.output / PICTURE_FILE)
    print(f"{options.output / GOALS_FILE}: {len(goals)} steps, the goal last")


if __name__ == "__main__":
    main()
