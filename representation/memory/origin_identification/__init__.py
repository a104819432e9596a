"""Origin identification: the frame that an edited or translated frame was made from.

Source: (Generalizable) Origin Identification for Text-Guided Image-to-Image Diffusion Models, Wang et al., ICML 2025
(arXiv 2501.02376). Pictures (B, 3, H, W) in [0, 1] become unit vectors (B, width), by a linear map of what a
variational autoencoder makes of them; the cosine tells the origin. One linear layer learned from one generator carries
over to others, deeper networks do not.

Read in this order: `autoencoder.py` (a small one, and diffusers' AutoencoderKL), `cosface.py` (the loss),
`averaging.py`, `identifier.py` (`OriginIdentifier`: the map, fitted to pictures and translations of them), `lda.py`
(the same in closed form, to compare with), `origin_index.py` (a gallery that is asked), `edits.py` (what becomes of
frames), `encoder.py` and `pretraining.py` (autoencoder and map trained at once from frames alone), `released.py`
(published weights), `trace.py` (the command).

What differs from the paper: the mean of the autoencoder's posterior instead of a sample, so that a picture has one
vector; a small autoencoder learns from the same frames where no large one is at hand.
"""

from representation.memory.origin_identification.encoder import Config, OriginEncoder, load
from representation.memory.origin_identification.pretraining import new

__all__ = ["Config", "OriginEncoder", "load", "new"]
