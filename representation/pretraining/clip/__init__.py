"""CLIP: contrastive pretraining on pictures and texts, and recognition of anything that can be said.

Source: Learning Transferable Visual Models From Natural Language Supervision, Radford et al., ICML 2021
(arXiv 2103.00020). Pictures (B, 3, H, W) in [0, 1] and texts become embeddings (B, E) in one space.

Read in this order: `config.py` (sizes), `transformer.py` and `image_towers.py` (blocks and towers), `model.py` (`CLIP`,
`clip_loss`), `tokenizer.py`, `weights.py` (all published file formats), `encoder.py` (`CLIPEncoder`: pictures to
vectors, phrases to probabilities), `zero_shot.py` (classifiers out of class names), `pretraining.py` (`Config`, `new`,
the objective).

What differs from the paper: small models learn their merges from the captions that they are trained on.
"""

from representation.pretraining.clip.encoder import CLIPEncoder, load
from representation.pretraining.clip.pretraining import Config, new

__all__ = ["CLIPEncoder", "Config", "load", "new"]
