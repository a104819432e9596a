"""Transforms-2D: which invariances an encoder learned, what they are worth for new objects, and where they hurt.

Objects, what is done to them and what stands behind them are controlled exactly: a class is one picture of an object,
and all that varies inside it are the chosen transforms, out of 18. An encoder is invariant to a transform as far as its
vectors of two draws on the same object and background are nearer than those of different pictures. To hold the right
invariances matters more than pictures, classes or architectures do; to hold the wrong ones removes what a task needs.

Source: Understanding the Role of Invariance in Transfer Learning, Speicher, Nanda and Gummadi, TMLR 2024
(arXiv 2407.04325). Takes an encoder of pictures and cut-outs (S, S, 4) uint8; gives invariances, from 0 (invariant) to
1 (as far apart as any two pictures), probe accuracies, and the four experiments as tables.

- `transforms.py`: the 18 transforms. `dataset.py`: `Transforms2D`.
- `objects.py`: cut-outs and backgrounds: drawn, from folders, or from frames whose pixels are labelled. Those of MJCF
  files are cut out by `mujoco_objects` of `sim.cut_outs`, since nothing here knows a simulator.
- `measures.py`: invariance, and linear probes. `networks.py`: what is trained. `study.py`: the four experiments.

What was decided here: randomness of a picture depends on its seeds and its number alone, and each transform has a
stream of its own. Transforms come in one order, geometric, photometric, corruptions, whatever order they are named in.
The bounding box is that of the pixels that are not transparent, so nothing has to be tracked. Sizes in pixels (blur,
erased square, elastic field) are those of pictures of 32 pixels and grow with the picture. Objects in the corner are
shifted until they lie inside. Features are compared by distance; `cosine` compares 1 - cosine, `cka` 1 - CKA, and `dot`
the products themselves, of which invariant ones are large.
"""

from representation.analysis.invariance_transfer.dataset import Transforms2D, materialised
from representation.analysis.invariance_transfer.measures import (
    features,
    invariance_matrix,
    linear_probe,
    measure_invariance,
)
from representation.analysis.invariance_transfer.objects import (
    cut_outs_of,
    noise_objects,
    procedural_backgrounds,
    procedural_objects,
    read_pictures,
)
from representation.analysis.invariance_transfer.study import StudyConfig, StudyResult, transfer_study
from representation.analysis.invariance_transfer.transforms import (
    CORRUPTION,
    GEOMETRIC,
    PHOTOMETRIC,
    TRANSFORMS,
    apply_transforms,
)

__all__ = [
    "CORRUPTION",
    "GEOMETRIC",
    "PHOTOMETRIC",
    "TRANSFORMS",
    "StudyConfig",
    "StudyResult",
    "Transforms2D",
    "apply_transforms",
    "cut_outs_of",
    "features",
    "invariance_matrix",
    "linear_probe",
    "materialised",
    "measure_invariance",
    "noise_objects",
    "procedural_backgrounds",
    "procedural_objects",
    "read_pictures",
    "transfer_study",
]
