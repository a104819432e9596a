"""Frame averaging: any network of points becomes exactly invariant or equivariant, by its mean over a few frames.

Source: Frame Averaging for Invariant and Equivariant Network Design, Puny et al., ICLR 2022 (arXiv 2110.03336). As an
encoder: clouds (B, N, 3) become scalars and vectors at points, and vectors (B, D).

The principal axes of a cloud turn with it, and are known up to their signs. A network sees the cloud along all choices
of axes; the mean of what it says of them, turned back, does not depend on how the cloud lay. That costs four or eight
passes, and nothing of what the network could tell. The same holds for graphs, whose nodes are sorted by the spectrum.

Read in this order: `point_frames.py` (axes of clouds), `averaging.py` (`FrameAveraging` of any network, and
`DeepFrameAveraging`, new frames after every layer), `point_net.py` (PointNets), `graph_network.py` (`FAGNN`, motions of
bodies), `graph_frames.py` (orders of nodes), `encoder.py` (clouds to features; `new` and `load`).

What differs from the published code: eigenvalues are told apart with a tolerance, not by rounding or by equality, so
that ties are found; any number of bodies; smaller networks by default; what PointNets see of patches also has the place
of the point. The local PointNet sees patches through two layers instead of three, and its frames of the whole cloud are
those of the points, not of the vectors that were told of patches. Where two spreads of a cloud are alike (balls, cubes)
the axes jump: `PointFrames.gap` tells.
"""

from representation.equivariant.frame_averaging.averaging import DeepFrameAveraging, FrameAveraging
from representation.equivariant.frame_averaging.encoder import Config, FrameAveragedEncoder, load, new
from representation.equivariant.frame_averaging.graph_frames import all_graph_frames, graph_frames
from representation.equivariant.frame_averaging.graph_network import FAGNN
from representation.equivariant.frame_averaging.point_frames import PointFrames, pca_frames
from representation.equivariant.frame_averaging.point_net import FAPointNet, PointNet

__all__ = [
    "FAGNN",
    "Config",
    "DeepFrameAveraging",
    "FAPointNet",
    "FrameAveragedEncoder",
    "FrameAveraging",
    "PointFrames",
    "PointNet",
    "all_graph_frames",
    "graph_frames",
    "load",
    "new",
    "pca_frames",
]
