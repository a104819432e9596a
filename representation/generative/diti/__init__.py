"""DiTi: vectors whose first numbers tell fine things and whose last ones coarse things, taught by steps of diffusion.

Noise takes small things away first. A U-Net that was trained to tell noise (`diffusion_classification`) stays as it is;
an encoder and a branch that corrects the U-Net learn to bring back what is lost at each step, with those numbers of the
vector alone that belong to this step's bin and to the bins before.

Source: Exploring Diffusion Time-steps for Unsupervised Representation Learning, Yue, Wang, Sun, Ji, Chang and Zhang,
ICLR 2024 (arXiv 2401.11430). Takes pictures (B, 3, H, W) in [0, 1]; gives vectors (B, d), pictures that come back from
them, and pictures with some numbers of another picture's vector.

Decided here: the branch begins with the weights of the U-Net it corrects, and with a last convolution of 0; encoders of
other sizes than 64 and 128 pixels halve to 16 (at most half the side) before the attention and to 4 after it; inversion
and what is made of it see the vector at every step, masked as in training. What begins with an inversion is not clipped
on the way: clipped steps do not lead back (9 dB of signal over noise in place of 27, in a small trial). Correction has
the coefficient c_t of the training everywhere. The published 512 numbers in 64 bins are 64 in 16 unless asked for, as
two cores train. The contrastive loss, whose weight is 0 in the paper, is left out.
"""

from representation.generative.denoiser import GaussianDiffusion
from representation.generative.diti.encoder import Config, DiTiEncoder, DiTiObjective, load, new
from representation.generative.diti.model import PDAE, DiTi, PictureEncoder
from representation.generative.diti.shift_unet import ShiftUNet
from representation.generative.diti.slicer import CELEBA_DIMS, CELEBA_STAGES, TimeSlicer

__all__ = [
    "CELEBA_DIMS",
    "CELEBA_STAGES",
    "PDAE",
    "Config",
    "DiTi",
    "DiTiEncoder",
    "DiTiObjective",
    "GaussianDiffusion",
    "PictureEncoder",
    "ShiftUNet",
    "TimeSlicer",
    "load",
    "new",
]
