"""`TrainConfig`: the arguments of `policies.train`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from policies.lora import LoraSettings
from policies.rdt.training_options import RDTTraining
from representation.generative.mmist.augment import RestyleOptions
from representation.training import LoopConfig

POLICY_DIRECTORY = "policy"
"""Of a run: what `load_policy` loads."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(LoopConfig):
    """Arguments of a training run, after those of `LoopConfig`.

    Attributes:
        dataset: directories of LeRobot datasets, or for RDT of ALOHA episodes; held-out errors are reported by
            directory and task.
        share: share of the episodes that are learned from, of each dataset alike; others are drawn with each seed.
        jitter: strength of the random changes of brightness, contrast and colour; 0 is none.
        augment: change the pictures of a SpatialVLA policy as it was published: crop, brightness, contrast, saturation
            and hue; before `jitter`.
        restyle: bring some episodes of each batch into other looks, before all others, see docs/restyle.md.
        policy: what to train.
        initial: directory of a trained policy to start from. Its sizes, tokens and action bins stay, whatever `size`
            says; `camera` and `ego3d` must be its own. None starts afresh.
        size: size of the network.
        camera: view that a SpatialVLA policy reads.
        dataset_key: of several datasets, the directory's name of the one whose statistics un-normalise the answers of a
            SpatialVLA policy; each is then normalised by its own, as published. None has one normalisation for all.
        ego3d: add 3-D position encodings from the depth camera to the image tokens of a SpatialVLA policy.
        train_text_table: train a SpatialVLA policy's table of the words' embeddings. By default a fresh policy's is
            trained and that of `initial` is not, as published: few demonstrations hold few of the words it knows.
        checkpointing: compute the layers of a SpatialVLA policy again in the backward pass instead of keeping what they
            computed: less memory, more time.
        lora: fine-tune `initial` by adapters; the saved policy has them merged into its weights, and `adapters/` holds
            them alone.
        rdt: what else an RDT policy needs to know.
    """

    dataset: tuple[Path, ...]
    share: float = 1.0
    jitter: float = 0.3
    augment: bool = False
    restyle: RestyleOptions = field(default_factory=RestyleOptions)
    policy: Literal["spatialvla", "rdt"] = "spatialvla"
    initial: Path | None = None
    size: Literal["small", "tiny"] = "small"
    camera: str = "front"
    dataset_key: str | None = None
    ego3d: bool = True
    train_text_table: bool | None = None
    checkpointing: bool = False
    lora: LoraSettings = field(default_factory=LoraSettings)
    rdt: RDTTraining = field(default_factory=RDTTraining)

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share: expected in (0, 1], found {self.share}")
