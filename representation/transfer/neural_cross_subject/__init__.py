"""STTM: a shallow adapter for each subject, one deep decoder for all; here a subject is a robot, or a recorded brain.

Source: See Through Their Minds: Learning Transferable Brain Decoding Models from Cross-Subject fMRI, Liu, Ma, Zhu,
Jing and Zheng, AAAI 2025 (arXiv 2403.06361). Signals (B, v), whose width differs from subject to subject (voxels; joint
positions and velocities), go through the subject's own adapter into one space; the decoder that all share makes of them
the tokens (B, N, D) that an encoder of pictures gives of what the subject saw, projected ones to retrieve by, and
numbers that mean the same for all, such as where the tool is. A new subject needs an adapter only.

Read in this order: `model.py` (`CrossSubjectModel`), `contrast.py` (BiMixCo and SoftCLIP), `prior.py` (diffusion of
tokens), `low_level.py` (coarse pictures), `recordings.py` (signals with targets, from .npy files or drawn),
`training.py` (`fit_joint`, `fit_new_subject`). `policies.onboard` is the road for robots.

Decided where the source is silent or wrong:
- attention divides by the root of the head's width; `reference_scale` multiplies, as the published code does;
- a mixed sample that keeps its place has all its label there; rows of labels always sum to 1;
- prior and read-out learn from those samples of a batch that were not mixed;
- each subject makes an optimizer step in turn; `average_gradients` makes one step of all, as one GPU per subject does;
- statistics of signals stand in the adapter, with a floor under the deviation of channels at rest;
- the low-level blocks are residual; its contrast is SoftCLIP between a projected feature and the class token.

Not here: the picture generator that takes the tokens (Versatile Diffusion), whose weights are not ours to ship.
"""

from representation.transfer.neural_cross_subject.contrast import mixco, mixco_nce, soft_clip_loss
from representation.transfer.neural_cross_subject.low_level import LowLevelModel, fit_low_level
from representation.transfer.neural_cross_subject.model import (
    CrossSubjectConfig,
    CrossSubjectModel,
    SharedDecoder,
    SubjectAdapter,
    load,
)
from representation.transfer.neural_cross_subject.prior import PriorConfig, TokenDiffusionPrior
from representation.transfer.neural_cross_subject.recordings import (
    SubjectData,
    SubjectLoader,
    read_subject,
    synthetic_subjects,
)
from representation.transfer.neural_cross_subject.training import (
    FitOptions,
    fit_joint,
    fit_known_subject,
    fit_new_subject,
    retrieval_top1,
)

__all__ = [
    "CrossSubjectConfig",
    "CrossSubjectModel",
    "FitOptions",
    "LowLevelModel",
    "PriorConfig",
    "SharedDecoder",
    "SubjectAdapter",
    "SubjectData",
    "SubjectLoader",
    "TokenDiffusionPrior",
    "fit_joint",
    "fit_known_subject",
    "fit_low_level",
    "fit_new_subject",
    "load",
    "mixco",
    "mixco_nce",
    "read_subject",
    "retrieval_top1",
    "soft_clip_loss",
    "synthetic_subjects",
]
