"""Relative representations: a sample is told by its cosines to fixed anchors, on which different encoders agree.

Source: Relative Representations Enable Zero-Shot Latent Space Communication, Moschella et al., ICLR 2023
(arXiv 2209.15430). Two trainings place the same data alike up to rotations and scales, which cosines do not see. So
vectors (B, d) of any encoder, of any d, become coordinates (B, k) in one space: another encoder can stand before a head
or a memory that never saw it, if the same k anchors in the same order were shown to it. Nothing is trained for that.

Read in this order: `projection.py` (the coordinates), `anchors.py` (which samples), `encoder.py` (`RelativeEncoder`),
`memory.py` (a memory that outlives its encoder), `comparison.py` (what a swap costs), `pretraining.py` (an encoder
trained end to end on its coordinates).

What differs from the paper: anchors are encoded in evaluation mode, so that no batch norm moves by them; the small
network; a picture is restored at 16 pixels by two layers.

Coordinates agree worse where all vectors lie in a narrow cone, as behind a last ReLU; `center` puts the origin among
the anchors.
"""

from representation.compatibility.relative_representations.anchors import select_anchors
from representation.compatibility.relative_representations.comparison import (
    accuracy,
    latent_similarity,
    stitch,
    stitching_matrix,
)
from representation.compatibility.relative_representations.encoder import RelativeEncoder, load
from representation.compatibility.relative_representations.memory import RelativeMemory
from representation.compatibility.relative_representations.pretraining import Config, new
from representation.compatibility.relative_representations.projection import RelativeLayer, relative_projection

__all__ = [
    "Config",
    "RelativeEncoder",
    "RelativeLayer",
    "RelativeMemory",
    "accuracy",
    "latent_similarity",
    "load",
    "new",
    "relative_projection",
    "select_anchors",
    "stitch",
    "stitching_matrix",
]
