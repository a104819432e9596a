"""BenchX: one protocol of fine-tuning and measuring for every encoder, so that rankings are not artefacts of recipes.

Source: BenchX: A Unified Benchmark Framework for Medical Vision-Language Pretraining on Chest X-Rays, Zhou et al.,
NeurIPS 2024, Datasets and Benchmarks (arXiv 2410.21969). Takes backends, which give tokens (B, N, D) or vectors (B, D)
and a pyramid of maps of pictures (B, 3, H, W), and cases with classes, masks or reports; gives a ranked table.

Read in this order: `backends.py` (the protocol, adapters of networks of all kinds), `vision_transformer.py` and
`backbone_weights.py` (timm's transformer and checkpoints), `cases.py` and `splits.py` (what is asked, of whom), then
the three tasks: `classification.py`, `segmentation.py` (UPerNet), and `relational_memory.py`, `report_generator.py` and
`report.py` (R2Gen); `metrics.py`, `text_metrics.py` and `stemmer.py`; `runner.py` and `table.py`; last `frozen.py`
(classification of vectors that are there already, a score of `representation.select`).

What was decided where the published code is silent or cannot be followed: settings are dataclasses and not YAML with
`a.b.c=value`, and the command's options override them; several labels are stratified by the rarest one of a case;
cases without classes are split at random; training is also measured after its last epoch; a last batch of one picture
is left out; of more than two classes macro F1 chooses and ranks; reports are trained with gradients clipped to 0.1 by
value and end after ten epochs without a better BLEU-4; METEOR is that by exact words and stems, not the Java program
with synonyms; gradients are clipped once per step and no batches are accumulated; mixed precision is bfloat16 and on
GPUs only. BLEU is without smoothing.
"""

from representation.selection.benchx.backbone_weights import load_backbone_weights
from representation.selection.benchx.backends import (
    EncoderBackend,
    FeatureBackend,
    HuggingFaceBackend,
    NamedLayerBackend,
)
from representation.selection.benchx.cases import Cases, cases_of_frames, read_radiographs
from representation.selection.benchx.classification import ClassificationProbe, ClassificationRecipe
from representation.selection.benchx.frozen import fit_frozen
from representation.selection.benchx.report import ReportRecipe
from representation.selection.benchx.report_generator import ReportGenerator
from representation.selection.benchx.runner import BenchmarkConfig, BenchmarkRunner, small_config
from representation.selection.benchx.schedules import EarlyStopping, WarmupCosineScheduler
from representation.selection.benchx.segmentation import SegmentationRecipe, UPerNetSegmenter
from representation.selection.benchx.splits import stratified_splits
from representation.selection.benchx.table import BenchmarkTable
from representation.selection.benchx.vision_transformer import VisionTransformerBackend, VisionTransformerConfig
from representation.selection.benchx.vocabulary import Vocabulary

__all__ = [
    "BenchmarkConfig",
    "BenchmarkRunner",
    "BenchmarkTable",
    "Cases",
    "ClassificationProbe",
    "ClassificationRecipe",
    "EarlyStopping",
    "EncoderBackend",
    "FeatureBackend",
    "HuggingFaceBackend",
    "NamedLayerBackend",
    "ReportGenerator",
    "ReportRecipe",
    "SegmentationRecipe",
    "UPerNetSegmenter",
    "VisionTransformerBackend",
    "VisionTransformerConfig",
    "Vocabulary",
    "WarmupCosineScheduler",
    "cases_of_frames",
    "fit_frozen",
    "load_backbone_weights",
    "read_radiographs",
    "small_config",
    "stratified_splits",
]
