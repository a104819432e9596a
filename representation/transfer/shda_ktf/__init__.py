"""Knowledge transfer framework (KTF): few labels and many unlabelled vectors, helped by a source that may be noise.

Source: Noise May Contain Transferable Knowledge: Understanding Semi-supervised Heterogeneous Domain Adaptation from an
Empirical Perspective, Yao et al., 2025 (arXiv 2502.13573). Takes labelled vectors (n_l, D) of C classes, a few of each,
unlabelled ones (n_u, D) of the same kind, and a labelled source (n_s, d) of C classes of anything, or none: then noise
with a place for each class. Gives labels of the unlabelled, and a projector with a classifier for vectors to come.

Read in this order: `model.py` (the network, `soft_mmd`), `sources.py` (noise, .mat files of the field's benchmarks),
`fitting.py` (`fit_ktf`, and the baselines `target_only` and `fit_stn`), `classifier.py` (`KTFClassifier`).

Decided where the source is silent: rows are brought to length 1 inside the network, so that vectors to come need no
preparation. Classes are taken to be as frequent among the unlabelled as in the source; where they are not, `priors`
weights the source's mean and the soft labels. The soft part of `fit_stn` is weighted by t / T in sum and count of the
class means, and its weights are drawn by Glorot's rule.
"""

from representation.transfer.shda_ktf.classifier import KTFClassifier
from representation.transfer.shda_ktf.fitting import KTFResult, fit_ktf, fit_stn, target_only, transfer_diagnostics
from representation.transfer.shda_ktf.model import KTF, load, soft_mmd
from representation.transfer.shda_ktf.sources import load_shda_mat, noise_source

__all__ = [
    "KTF",
    "KTFClassifier",
    "KTFResult",
    "fit_ktf",
    "fit_stn",
    "load",
    "load_shda_mat",
    "noise_source",
    "soft_mmd",
    "target_only",
    "transfer_diagnostics",
]
