"""Learnable commutative monoids: a learned operator that sums up any number of things, folded over a balanced tree.

An operator a ⊕ b that is commutative by construction, and nearly associative by training, makes one state of the states
of a set: a tree of depth log2 n does so, any part of it may be made elsewhere, and one element is replaced in log2 n
steps. It can hold what a sum or a maximum loses, such as the second smallest. It is only nearly invariant to order:
shuffle in training, and ask for `associativity_penalty`.

Source: Learnable Commutative Monoids for Graph Neural Networks, Ong and Veličković, LoG 2022 (arXiv 2212.08541).

Read in this order: `monoid.py` (operator, fold, aggregations, window), `object_evidence.py` (fuses evidence of objects
with it, and is read by `load`), `train.py` (the command that trains that).

What differs: absent elements of ragged sets never enter the fold; `SlidingFold` keeps the tree of a window.
"""

from representation.structure.commutative_monoids.monoid import (
    CommutativeMonoid,
    LCMAggregation,
    Monoid,
    RecurrentAggregation,
    SlidingFold,
    dense_sets,
    fold_levels,
    second_minimum_sets,
)
from representation.structure.commutative_monoids.object_evidence import load_object_evidence as load

__all__ = [
    "CommutativeMonoid",
    "LCMAggregation",
    "Monoid",
    "RecurrentAggregation",
    "SlidingFold",
    "dense_sets",
    "fold_levels",
    "load",
    "second_minimum_sets",
]
