"""TVTS: an encoder of videos that learns time by putting the sentences that narrate them in order.

Source: Learning Transferable Spatiotemporal Representations from Natural Script Knowledge, Zeng et al., CVPR 2023
(arXiv 2209.15280). Clips (B, T, 3, H, W) become vectors (B, 768); with K sentences, chances (B, K, K) of which happens
when.

A small transformer sees the tokens of a video and K sentences of unknown order, and tells the place of each. Sentences
get no gradient from this, so the video tokens must carry what happens when. A contrastive loss aligns both as a whole.

Read in this order: `video.py` (`VideoTransformer`), `text.py` (encoders of sentences), `model.py` (`SortTransformer`,
`TVTS`), `encoder.py` (`TVTSEncoder`: clips to vectors, order and progress), `pretraining.py` (`Config`, `new`, the
objective), `weights.py` (published files). Narrated episodes come from `representation.data.clips`.

What differs from the paper: small models learn their text encoder from scratch; clips are cropped but never mirrored,
as sentences tell left from right; contrasts are within the batch of one process, and between episodes.
"""

from representation.pretraining.tvts.config import RELEASED, Config
from representation.pretraining.tvts.encoder import TVTSEncoder, load
from representation.pretraining.tvts.pretraining import new

__all__ = ["RELEASED", "Config", "TVTSEncoder", "load", "new"]
