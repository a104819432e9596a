"""Convolutions over affine maps: an encoder of pictures of flat things whose answers quarter turns do not change.

Source: Lie Group Decompositions for Equivariant Neural Networks, Mironenco and Forré, ICLR 2024 (arXiv 2310.11366).
Pictures (B, 3, H, W) become vectors (B, D).

An affine map without reflection is, in one way, a rotation followed by a stretch (its polar decomposition). Both have a
logarithm where the map itself may have none: so maps can be drawn, inverted and written as coordinates, and a small
network of coordinates gives the kernels of convolutions over places and maps.

Read in this order: `polar.py` (decomposition and its chart), `affine_group.py` (coordinates and draws of maps),
`kernels.py` (the network of coordinates), `layers.py` (`LiftingConv2d`, `GroupConv2d`), `encoder.py` (the network;
`new` and `load`).

What differs from the published code: rotations are spread over the circle without its end, which is its beginning;
angles are given by sine and cosine, as a number that jumps would break the kernel; the determinant stands on the map
that is summed over; maps come in quarter turns of each other, so that those are exact; they are drawn once, by a seed,
and stay the same in training and evaluation; sums are means over maps; no dropout.

Maps that are drawn anew for every batch, as published, are an option, `redraw`. With the few stretches that can be
afforded here their sum differs so much from batch to batch that an encoder of a few hundred pictures does not learn.
"""

from representation.equivariant.lie_decompositions.affine_group import AffineGroup
from representation.equivariant.lie_decompositions.encoder import AffineEquivariantEncoder, Config, load, new
from representation.equivariant.lie_decompositions.kernels import SirenKernel
from representation.equivariant.lie_decompositions.layers import GroupConv2d, LiftingConv2d
from representation.equivariant.lie_decompositions.polar import (
    polar_decompose,
    polar_exp,
    polar_log,
    stretch_density,
)

__all__ = [
    "AffineEquivariantEncoder",
    "AffineGroup",
    "Config",
    "GroupConv2d",
    "LiftingConv2d",
    "SirenKernel",
    "load",
    "new",
    "polar_decompose",
    "polar_exp",
    "polar_log",
    "stretch_density",
]
