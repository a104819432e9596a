"""I2P-MAE: an encoder of point clouds that restores hidden parts, guided by a frozen encoder of pictures.

Source: Learning 3D Representations from 2D Pre-trained Models via Image-to-Point Masked Autoencoders, Zhang et al.,
CVPR 2023 (arXiv 2212.06785). Clouds (B, N, 3) become vectors (B, 384), and features of points that grasping can use.

A cloud is drawn as three depth pictures. What the teacher looks at stays visible; the encoder, three levels of tokens
that each merge neighbours of the level below, sees that alone. A decoder then gives the coordinates of hidden
neighbourhoods and, for visible ones, what the teacher sees at their points. No pictures are needed afterwards.

Read in this order: `config.py` (sizes), `tokens.py` (farthest points, neighbours, masks), `views.py` (depth pictures,
and what they show at points), `encoder.py` (`HierarchicalEncoder`, `I2PMAEEncoder`: clouds to vectors, released
weights), `model.py` (`I2PMAE`, the objective, and `new`), `classifier.py` (fine-tuning).

What differs from the paper: the teacher is any `DenseEncoder` of ours, with its own normalisation of pictures; its
saliency is brought to mean 1 before the softmax (raw attention of about 1/197 would leave the choice uniform); hidden
parts are marked by booleans (products of indices would leave token 0 visible); without a teacher nothing guides.
"""

from representation.pretraining.i2p_mae.config import RELEASED, Config
from representation.pretraining.i2p_mae.encoder import I2PMAEEncoder, load
from representation.pretraining.i2p_mae.model import new

__all__ = ["RELEASED", "Config", "I2PMAEEncoder", "load", "new"]
