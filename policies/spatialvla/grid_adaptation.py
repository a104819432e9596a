"""Carry the tables of a trained model over to another action grid ("spatial embedding adaption").

A new bin's embedding is interpolated between those of the old bins around its centre, axis by axis. Source: SpatialVLA
(arXiv 2501.15830), spatial embedding adaption; ours departs from the published code, which takes the first two axes
for one another and leaves the output table as it was (`mode="reference"` does the same, to compare with).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import griddata
from torch import Tensor

from policies.spatialvla.action_grid import AXIS_RANGES, ROTATION_AXES, TRANSLATION_AXES, ActionGrid
from policies.spatialvla.model import SpatialVLAModel

AdaptationMode = Literal["trilinear", "reference"]


def adapt_grid(
    model: SpatialVLAModel,
    old: ActionGrid,
    new: ActionGrid,
    input_table: bool = True,
    output_table: bool = True,
    mode: AdaptationMode = "trilinear",
    periodic_phi: bool = False,
) -> None:
    """Change a model's tables in place so that its tokens mean the bins of `new`.

    Args:
        model: trained with `old`.
        old: grid of the tables.
        new: grid with as many bins.
        input_table: adapt `spatial_embed_tokens`.
        output_table: adapt the rows of the `lm_head`; the published code does not.
        mode: "trilinear", or "reference": with the published code's defects, and the input table only.
        periodic_phi: interpolate across the seam at phi = -pi, pi; the published code does not.

    Raises:
        ValueError: the grids have other numbers of bins.
    """
    if old.num_bins != new.num_bins:
        raise ValueError(f"grid: expected the bins of the model, {old.num_bins}, found {new.num_bins}")
    with torch.no_grad():
        if input_table:
            table = model.spatial_embed_tokens.weight
            table.copy_(adapt_table(table, old, new, mode, periodic_phi))
            model.synchronize_action_embeddings()
        if output_table and mode == "trilinear":
            begin = model.config.action_token_begin_idx
            rows = model.language_model.lm_head.weight[begin : begin + model.config.spatial_token_num]
            rows.copy_(adapt_table(rows, old, new, mode, periodic_phi))


def adapt_table(
    table: Tensor, old: ActionGrid, new: ActionGrid, mode: AdaptationMode = "trilinear", periodic_phi: bool = False
) -> Tensor:
    """Interpolate a table (V, D) of the action tokens; the gripper's rows stay as they are.

    The same grid gives the same table, bit for bit.
    """
    values = table.detach().cpu().double().numpy()
    translation, rotation, _ = old.slot_sizes
    parts = {TRANSLATION_AXES: slice(0, translation), ROTATION_AXES: slice(translation, translation + rotation)}
    adapted = values.copy()
    for axes, rows in parts.items():
        cells = values[rows].reshape(*(old.num_bins[axis] for axis in axes), -1)
        if mode == "reference":
            moved = _reference(cells, axes, old, new)
        else:
            moved = _separable(cells, axes, old, new, periodic_phi)
        adapted[rows] = moved.reshape(rows.stop - rows.start, -1)
    return torch.from_numpy(adapted).to(table)


def bin_centers(grid: ActionGrid, axis: str) -> NDArray[np.float64]:
    """Midpoints (n,) of an axis' bins, where an embedding is taken to lie."""
    edges = grid.edges[axis]
    return 0.5 * (edges[:-1] + edges[1:])


def _separable(
    cells: NDArray, axes: tuple[str, ...], old: ActionGrid, new: ActionGrid, periodic_phi: bool
) -> NDArray[np.float64]:
    for place, axis in enumerate(axes):
        known, wanted = bin_centers(old, axis), bin_centers(new, axis)
        if periodic_phi and axis == "phi" and old.spherical:
            low, high = AXIS_RANGES[axis]
            known = np.concatenate([[known[-1] - (high - low)], known, [known[0] + (high - low)]])
            cells = np.concatenate([cells.take([-1], place), cells, cells.take([0], place)], place)
        below = np.clip(np.searchsorted(known, wanted, side="right") - 1, 0, len(known) - 2)
        # Beyond the outer centres the outermost value counts on.
        share = np.clip((wanted - known[below]) / (known[below + 1] - known[below]), 0.0, 1.0)
        share = share.reshape(-1, *[1] * (cells.ndim - 1 - place))
        cells = cells.take(below, place) * (1 - share) + cells.take(below + 1, place) * share
    return cells


def _reference(cells: NDArray, axes: tuple[str, ...], old: ActionGrid, new: ActionGrid) -> NDArray[np.float64]:
    """The published interpolation: points listed with the first two axes swapped, values with them in order."""

    def padded(grid: ActionGrid, axis: str) -> NDArray[np.float64]:
        low, high = AXIS_RANGES[axis]
        return (np.concatenate([[low], bin_centers(grid, axis), [high]]) - low) / (high - low)

    def listed(grid: ActionGrid) -> NDArray[np.float64]:
        return np.stack(np.meshgrid(*(padded(grid, axis) for axis in axes), indexing="xy"), -1).reshape(-1, len(axes))

    edge = [(1, 1)] * len(axes) + [(0, 0)]
    values = np.pad(cells, edge, mode="edge")
    moved = griddata(listed(old), values.reshape(-1, cells.shape[-1]), listed(new), method="linear")
    inner = (slice(1, -1),) * len(axes)
    return moved.reshape(values.shape)[inner]
