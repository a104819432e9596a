"""ADDP: an encoder that sees pixels, trained to tell tokens, by a diffusion that goes from one to the other and back.

A step of it makes some tokens of a picture unreliable (a predictor's guess takes their place), decodes the picture,
and lets encoder and decoder tell from its pixels what the unreliable tokens may be. The encoder serves recognition and
policies; together with the decoder it makes pictures out of nothing, and tells of each patch of a picture how much it
surprises: a hand in view, dirt on the lens.

Source: ADDP: Learning General Representations for Image Recognition and Generation with Alternating Denoising
Diffusion Process, Tian et al., ICLR 2024 (arXiv 2306.05423). Takes pictures (B, 3, H, W) in [0, 1]; gives features
(B, L + 1, D), a vector (B, D), new pictures, and maps (B, h, w) of how far each patch is from what is expected there.

Three stages, each a run of `representation.pretrain` that starts from the one before (docs/addp.md): the tokenizer
(`tokenizer.py`), the predictor of masked tokens (`predictor.py`), and ADDP (`mask_schedule.py`, `transformers.py`,
`model.py`). `encoder.py` and `pretraining.py` make these systems of the stack, `released.py` reads published weights,
`surprise.py` and `sample.py` are commands.

Decided here, where the paper is silent or differs: how the tokenizer is trained (squared error, and MaskGIT's entropy
loss if asked for, but no adversary); the frozen parts never drop anything out; the predictor is trained as it is used,
without dropped tokens, and with the masks of ADDP; sampling begins with a black picture, of which nothing is read;
surprise, which the paper does not have, is a difference of pixels (`ADDP.surprise`). Attention is PyTorch's, whose
softmax subtracts the maximum and is computed in float32 as the paper's.
"""

from representation.generative.addp.encoder import ADDPEncoder, Config, load
from representation.generative.addp.mask_schedule import MaskSchedule
from representation.generative.addp.model import ADDP
from representation.generative.addp.predictor import MaskedTokenPredictor
from representation.generative.addp.pretraining import ADDPObjective, new
from representation.generative.addp.tokenizer import VQTokenizer
from representation.generative.addp.transformers import DecoderConfig, EncoderConfig

__all__ = [
    "ADDP",
    "ADDPEncoder",
    "ADDPObjective",
    "Config",
    "DecoderConfig",
    "EncoderConfig",
    "MaskSchedule",
    "MaskedTokenPredictor",
    "VQTokenizer",
    "load",
    "new",
]
