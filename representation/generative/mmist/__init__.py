"""MMIST: frames in the look of a weighted mix of texts and pictures, with everything where it was.

In place of the frames a picture of the style is optimised, in the latent space of a frozen generator, until its
direction in the space of CLIP is that of the style (cross-modal inversion); an ordinary style transfer net then brings
any number of frames into the look of several such pictures, in one pass each.

Source: Multimodality-guided Image Style Transfer using Cross-modal GAN Inversion, Wang, Wu, Dela Rosa, Wang and
Shrivastava, WACV 2024 (arXiv 2312.01671). Takes frames (B, 3, H, W) in [0, 1] and a `StyleSpec`; gives frames of the
same size.

Read in this order: `directions.py` (styles and losses), `patches.py`, `inversion.py` (`CrossModalInverter`),
`style_transfer.py` (AdaAttN), `model.py` (`MMIST`, in one directory), `augment.py` (`StyleAugment`, for training),
`edges.py` (whether things stayed where they were). What makes a small one without published weights: `textures.py`,
`texture_generator.py`, `transfer_loss.py`, `guided_filter.py`, `train.py`.

Decided here: the small generator is the decoder of an autoencoder of textures and frames, and the small style transfer
net has an eighth of the widths; both go the same way as the large ones. What narrow nets cannot do is helped by three
things that the paper has not, and that are switched off by `MMISTConfig`: the colours' means and deviations are made
those of the style pictures, frames get the edges of the old ones by a guided filter, and a fixed grain gives even
surfaces a texture. StyleGAN3's generator is not part of this: whatever has `mapping` and `synthesis` is a `Generator`,
and is passed to `load`. Texts are put into templates of our own; those of CLIP's authors are an argument. A small CLIP
refuses words that it has not read. Names of weights are those of the released VGG-19 and AdaAttN.
"""

from representation.generative.mmist.augment import RestyleOptions, StyleAugment
from representation.generative.mmist.directions import StyleSpec, directional_loss
from representation.generative.mmist.edges import edge_f1
from representation.generative.mmist.inversion import CrossModalInverter, Generator
from representation.generative.mmist.model import MMIST, Look, MMISTConfig, load, load_looks, save_looks
from representation.generative.mmist.style_transfer import AdaAttN, StyleTransferNet, VGGEncoder

__all__ = [
    "MMIST",
    "AdaAttN",
    "CrossModalInverter",
    "Generator",
    "Look",
    "MMISTConfig",
    "RestyleOptions",
    "StyleAugment",
    "StyleSpec",
    "StyleTransferNet",
    "VGGEncoder",
    "directional_loss",
    "edge_f1",
    "load",
    "load_looks",
    "save_looks",
]
