"""Feature bias: what a representation spends its variance on, beside what can be read from it.

Networks that compute several features equally well do not represent them equally: what is simple, learned early or
frequent takes most of the variance. Pictures by principal components, dissimilarities and regressions between models,
and memories that search by distance then see these features and miss the others, which are there as well.

Source: Learned feature representations are biased by complexity, learning order, position, and more, Lampinen, Chan and
Hermann, TMLR 2024 (arXiv 2405.05847). Takes activations (N, m) and what is known of each row: an array (N, J), or
arrays by name; gives shares of variance, decodability, density, ranks among principal components, and warnings.

- `variance.py`: shares of variance, density of units, principal components.
- `similarity.py`: dissimilarities, CKA and regressions between two networks.
- `decoding.py`: what can be read by linear models, and how fast new tasks are learned.
- `tasks.py`, `networks.py`, `study.py`: controlled inputs, what is trained on them, and the study of its bias.
- `audit.py`: the same of an encoder and of factors that a simulator knows.

What was decided here: whole numbers are classes and are regressed on by one column for each but the first; their shares
are lowered by what chance gives, (L - 1) / (N - 1), which keeps shares additive. Other numbers are regressed on as they
are. A parity of parities is the parity of all their units, so it has no name of its own. In sequences what is analysed
is the mean of the encoder's outputs.
"""

from representation.analysis.feature_bias.audit import AuditReport, AuditRow, audit, encoder_audit
from representation.analysis.feature_bias.decoding import decodability, epochs_to_learn
from representation.analysis.feature_bias.similarity import linear_cka, regression_similarity, rsa
from representation.analysis.feature_bias.study import (
    BiasStudyConfig,
    TrainingLog,
    TrainOptions,
    activations,
    bias_study,
    train_until,
)
from representation.analysis.feature_bias.tasks import FeatureSpec, FeatureTask, Samples
from representation.analysis.feature_bias.variance import (
    PrincipalComponent,
    VarianceReport,
    mean_unit_r2,
    pca_alignment,
    unit_density,
    variance_explained,
)

__all__ = [
    "AuditReport",
    "AuditRow",
    "BiasStudyConfig",
    "FeatureSpec",
    "FeatureTask",
    "PrincipalComponent",
    "Samples",
    "TrainOptions",
    "TrainingLog",
    "VarianceReport",
    "activations",
    "audit",
    "bias_study",
    "decodability",
    "encoder_audit",
    "epochs_to_learn",
    "linear_cka",
    "mean_unit_r2",
    "pca_alignment",
    "regression_similarity",
    "rsa",
    "train_until",
    "unit_density",
    "variance_explained",
]
