"""PONITA: an encoder of clouds whose features turn with the cloud, by convolutions over places and orientations.

Source: Fast, Expressive SE(n) Equivariant Networks through Weight-Sharing in Position-Orientation Space, Bekkers et
al., ICLR 2024 (arXiv 2310.02970). Clouds (B, N, 3) become scalars and vectors at points, and vectors (B, D).

Features live at every point for each of some orientations. Kernels are functions of what does not change when two
points with orientations are moved, so a motion of the cloud moves the features; that is exact for the symmetries of the
grid of orientations and nearly so for others. There are no products of irreducible representations.

Read in this order: `orientations.py` (grids), `invariants.py` (what kernels see), `layers.py` (the convolution and its
block), `model.py` (`Ponita`, for any graph in the plane or in space), `encoder.py` (`PonitaEncoder`: clouds to
features; `new` and `load`).

What differs from the published code: the grid in space is regular and stored, by default the icosahedron (a random one
that is not stored changes the model, and errs more); lengths of 0 have a gradient; there is no layer scale by default.
"""

from representation.equivariant.ponita.encoder import Config, PonitaEncoder, load, new
from representation.equivariant.ponita.model import Ponita

__all__ = ["Config", "Ponita", "PonitaEncoder", "load", "new"]
