"""QLAE: an autoencoder whose every latent takes one of a few values, so that each comes to mean one thing.

Every latent has a small set of learned scalars of its own, and the weights decay strongly: the encoder must combine few
values, and the decoder gives each of them one meaning. `infomec` measures how well that went, for any encoder.

Source: Disentanglement via Latent Quantization, Hsu, Dorrell, Whittington, Wu and Finn, NeurIPS 2023
(arXiv 2305.18378). Takes pictures (B, 3, H, W) in [0, 1]; gives codes (B, n) of integers, the scalars that these stand
for (B, n), which are what `encode` of the encoder gives, and pictures of codes.

Decided here: scale and shift of the style decoder pass a ReLU, as in the released code; the common training loop limits
the norm of the gradient in place of its entries, and averages the weights; widths are an eighth of the paper's unless
asked for, as two cores train. The decay must be decoupled (AdamW): pass `--weight-decay 0.1` and up.
"""

from representation.generative.qlae.encoder import Config, QLAEEncoder, QLAEObjective, load, new
from representation.generative.qlae.infomec import InfoMEC, infomec, mutual_information_gap
from representation.generative.qlae.model import QLAE
from representation.generative.qlae.quantizer import ScalarQuantizer

__all__ = [
    "QLAE",
    "Config",
    "InfoMEC",
    "QLAEEncoder",
    "QLAEObjective",
    "ScalarQuantizer",
    "infomec",
    "load",
    "mutual_information_gap",
    "new",
]
