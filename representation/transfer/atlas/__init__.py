"""Task vectors with learned anisotropic scaling: a network for a new task out of what others learned, by few numbers.

A task vector is what fine-tuning changed: τ = θ_tuned - θ_base. Added to the base with a coefficient for every block of
parameters (each weight, bias, norm) and every vector, they give a network for another task; the coefficients are all
that is learned, from a few samples, and begin at 0, which is the base itself.

Source: Knowledge Composition using Task Vectors with Learned Anisotropic Scaling, Zhang, Albert, Rodriguez-Opazo, van
den Hengel and Abbasnejad, NeurIPS 2024 (arXiv 2407.02880). Takes any module, state dicts of its fine-tuned versions,
and a loss; gives coefficients (n, m) of n vectors and m blocks, or (n, m, K), and a state dict of the same keys.

Decided here: everything is matched by name; blocks are parameters, float buffers (means of BatchNorm) only where `keys`
names them, without gradients of their own, and the frozen network stays in evaluation mode; vectors are float32; in
partitions, tensors that have not two axes are left as they are, as in the reference, unless `every_shape`; blocks are
ranked by the size of the loss's gradient at the base. The adapters on composed features (LP++, Tip-Adapter) are not
here.
"""

from representation.transfer.atlas.composer import (
    AnisotropicComposer,
    Granularity,
)
from representation.transfer.atlas.learning import (
    accuracy,
    cross_entropy,
    entropy_loss,
    learn_composition,
    negate,
    select_blocks,
    trusted_samples,
    ufm_loss,
)
from representation.transfer.atlas.task_vector import (
    TaskVector,
)

__all__ = [
    "AnisotropicComposer",
    "Granularity",
    "TaskVector",
    "accuracy",
    "cross_entropy",
    "entropy_loss",
    "learn_composition",
    "negate",
    "select_blocks",
    "trusted_samples",
    "ufm_loss",
]
