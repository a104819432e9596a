"""Interaction basis: coordinates of a layer, sorted by what they do to the output, that no redundancy changes.

Sources: Using Degeneracy in the Loss Landscape for Mechanistic Interpretability, Bushnaq, Mendel, Heimersheim, Braun et
al., Apollo Research, 2024 (arXiv 2405.10927), and its companion, The Local Interaction Basis (arXiv 2405.10928).

Takes an `nn.Sequential` and inputs (..., d) of it; gives for each layer a `Basis` of r directions: new activations
f C (N, r), and f C C⁺ comes back. A layer is named by the number of the module that its activations enter, counted with
nested `nn.Sequential`s laid out flat; len(seq) is the output. All is computed in float64.

Decided here: cut-offs `eps` are shares of the largest eigenvalue, so that no scale of a network matters; gradients of
the integrated rules are averaged along the way from 0 before they are squared; modules are found by networkx's Louvain
method, the best of ten seeded runs, in place of Leiden's, which no installed library has, and Newman's modularity is
told at resolution 1. A ReLU that never fires is in no synchronised group: nothing of it is left to mix.
"""

from representation.analysis.interaction_basis.ablation import (
    Ablated,
    ablate,
    ablation_curve,
    compress,
    kept_variance,
    required_directions,
)
from representation.analysis.interaction_basis.basis import (
    Basis,
    build,
    collect_grams,
    interaction_basis,
    jacobian_gram,
)
from representation.analysis.interaction_basis.degeneracy import (
    Synchronized,
    effective_parameters,
    map_parameters,
    synchronized_units,
)
from representation.analysis.interaction_basis.folding import Folded, fold_bias
from representation.analysis.interaction_basis.graph import ablate_edges, edges, modularity, required_edges

__all__ = [
    "Ablated",
    "Basis",
    "Folded",
    "Synchronized",
    "ablate",
    "ablate_edges",
    "ablation_curve",
    "build",
    "collect_grams",
    "compress",
    "edges",
    "effective_parameters",
    "fold_bias",
    "interaction_basis",
    "jacobian_gram",
    "kept_variance",
    "map_parameters",
    "modularity",
    "required_directions",
    "required_edges",
    "synchronized_units",
]
