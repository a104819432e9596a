"""Diffusion features: a network that was trained to tell the noise in pictures, as their encoder.

Noise of one step t is added to a picture, one pass of the U-Net goes up to one block b, and that block's features are
pooled. Features of the middle of the way up, under light noise, tell most; `scan` finds step, block and pooling for a
task from a few labels. The network is trained without labels, by `python -m representation.pretrain`, and stays as it
is: what makes and fills in pictures also perceives.

Source: Diffusion Models Beat GANs on Image Classification, Mukhopadhyay, Gwilliam et al., 2023 (arXiv 2307.08702), and
its successor: Do Text-Free Diffusion Models Learn Discriminative Visual Representations?, ECCV 2024, from which
`FusionHead` (DifFormer) and `FeedbackAdapter` (DifFeed) come. Takes pictures (B, 3, H, W) in [0, 1]; gives features
(B, C, h, w) of blocks, and vectors (B, C d d) of pooled ones.

Decided here: an encoder adds the same noise, of a seed, to every picture, so that a vector is a function of its picture
alone; several draws are averaged. Without a block, the one at 5/18 of the way up is taken, the paper's 24 of 37. The
convolutions of `CNNHead`, whose sizes the paper leaves out, are two of 3 x 3. The feedback goes to the first residual
block of every level. The paper's SGD is for a million pictures: `fit_head` uses AdamW unless asked for SGD; it sees the
features as they are, without crops and flips, since places matter to a robot.
"""

from representation.generative.diffusion_classification.cka import linear_cka
from representation.generative.diffusion_classification.diffusers_adapter import DiffusersAdapter
from representation.generative.diffusion_classification.encoder import (
    Config,
    DenoisingObjective,
    FeatureEncoder,
    load,
    new,
    open_denoiser,
)
from representation.generative.diffusion_classification.feature_scan import ScanRow, scan
from representation.generative.diffusion_classification.features import extract, pooled
from representation.generative.diffusion_classification.feedback import FeedbackAdapter, FeedbackHead
from representation.generative.diffusion_classification.fit import HeadTraining, fit_head
from representation.generative.diffusion_classification.heads import (
    AttentionHead,
    CNNHead,
    FusionHead,
    LinearHead,
    MLPHead,
)

__all__ = [
    "AttentionHead",
    "CNNHead",
    "Config",
    "DenoisingObjective",
    "DiffusersAdapter",
    "FeatureEncoder",
    "FeedbackAdapter",
    "FeedbackHead",
    "FusionHead",
    "HeadTraining",
    "LinearHead",
    "MLPHead",
    "ScanRow",
    "extract",
    "fit_head",
    "linear_cka",
    "load",
    "new",
    "open_denoiser",
    "pooled",
    "scan",
]
