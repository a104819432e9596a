"""Rich representations: several trainings of one encoder, side by side, tell more on new tasks than one training does.

A training keeps only those features that lower its own loss, and drops what repeats them. Trained again with another
seed it keeps others. Side by side (Cat) they gain nothing where they were trained, and much on other tasks. The whole
can be distilled into one encoder under several heads, and tuned to a target in two stages.

Source: Learning useful representations for shifting tasks and distributions, Zhang and Bottou, ICML 2023
(arXiv 2212.07346). Takes encoders, any with `modality`, `width` and `encode`, of one modality or of several; gives
vectors (B, sum of widths), classifiers, a distilled encoder, and a table of what each tells.

Decided here: the step size of the probe (0.1, a tenth of it after 8, 16 and 24 of 28 epochs), and that few samples are
gone through until 120 steps are done; snapshots lie evenly along a run; the weight decay of few-shot probes is chosen
on three folds; heads that are trained with their encoder begin as torch's linear layers do; heads of encoders that were
trained without labels are linear probes of the source classes.
"""

from representation.transfer.rich_representations.cat_encoder import CatEncoder, all_vectors, load
from representation.transfer.rich_representations.distillation import DistillConfig, MultiHeadDistiller
from representation.transfer.rich_representations.finetuning import (
    FinetuneConfig,
    concat_heads,
    finetune_jointly,
    two_stage_finetune,
)
from representation.transfer.rich_representations.linear_probe import LinearProbe, cosine_head
from representation.transfer.rich_representations.members import (
    Classifier,
    Member,
    ParallelBranches,
    TrainConfig,
    train_members,
    train_parallel,
)
from representation.transfer.rich_representations.released import load_released
from representation.transfer.rich_representations.richness import few_shots, richness_report
from representation.transfer.rich_representations.samples import Samples

__all__ = [
    "CatEncoder",
    "Classifier",
    "DistillConfig",
    "FinetuneConfig",
    "LinearProbe",
    "Member",
    "MultiHeadDistiller",
    "ParallelBranches",
    "Samples",
    "TrainConfig",
    "all_vectors",
    "concat_heads",
    "cosine_head",
    "few_shots",
    "finetune_jointly",
    "load",
    "load_released",
    "richness_report",
    "train_members",
    "train_parallel",
    "two_stage_finetune",
]
