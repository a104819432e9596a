"""Grounded language: a few symbols for each picture, invented by two networks that need them to understand each other.

Source: Grounding Language Acquisition From Object and Action Imagery, Kubricht, Yang, Qiu and Tu, 2023
(arXiv 2309.06335). Pictures (B, 3, H, W) in [0, 1] become messages (B, L) of L symbols out of V; as vectors (B, L V)
they are one-hot, and the cosine of two is the share of positions in which they agree.

Read in this order: `vision.py` (the network that sees), `message.py` (how symbols are chosen and yet trained),
`sender.py`, `receiver.py`, `games.py` (what they play; `pair_sampler.py` draws pairs of a class), `encoder.py` and
`pretraining.py` (`Config`, `new`), `forest.py` and `translator.py` (labels out of messages), `grad_cam.py` (which
pixels caused a symbol), `statistics.py` (what the language is like), `patterns.py` (looking for `3-7-*-*`),
`drawings.py` (line drawings of pictures, and pictures of trajectories), `talk.py` (the command).

What differs from the paper, whose code is not public: the sizes, and the form of the game within classes, where a batch
has one pair of each of some classes, so that no wrong answer is right.
"""

from representation.memory.grounded_language.encoder import Config, LanguageEncoder, load
from representation.memory.grounded_language.pretraining import new

__all__ = ["Config", "LanguageEncoder", "load", "new"]
