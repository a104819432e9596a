"""`RDTTraining`: options of `policies.train` that only RDT has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from policies.rdt.config import MAX_HISTORY_STEPS, Mixer
from policies.rdt.hdf5_episodes import ColorOrder


@dataclass(frozen=True)
class RDTTraining:
    """Options of an RDT policy.

    Attributes:
        weights: share of each dataset in a mixture; by default each step of all of them counts alike.
        embodiments: name or JSON file of the embodiment of each dataset. By default that of the policy to start from;
            for a fresh policy the published one for episodes of ALOHA, and one fitted to LeRobot datasets of one robot.
        unmarked_colors: colour order of ALOHA's pictures in files that do not tell: "bgr" as OpenCV writes RGB arrays.
        instruction_variants: draw the instruction of ALOHA's episodes from the texts beside them: the original, a
            simplified or an expanded one, each kind a third of the time.
        exterior: camera that sees the whole scene, of a fitted embodiment; "" for none. Others name their cameras.
        right_wrist: camera of the right, or the only, wrist, likewise.
        left_wrist: camera of the left wrist, likewise.
        history: see pictures of one step ago too. Without them a fresh network has half the image tokens.
        history_steps: control steps of the joints that the network sees too, up to the present one; by default those
            of the policy to start from, and none for a fresh one. A policy that has none learns to use them.
        history_mixer: what makes one vector of these; by default that of the policy to start from, and ponet.
        relative: count the arm joints of a fitted embodiment's chunks from the state.
        chunk: rows of a chunk; by default those of the policy to start from, and 32 for a fresh one.
        image_size: side of the pictures, pixels, a multiple of the patch's; by default likewise, and 64.
        vision_encoder: directory of an encoder of `representation/`, or of the run that trained it, which sees the
            pictures of a fresh network; by default a small SigLIP with random weights does.
        freeze: leave the image tower as it is.
        patch_size: side of the part of a picture that becomes one image token of a fresh network, pixels.
        objective: "diffusion", or "regression" of the same trunk, for comparison.
        masked_loss: count the robot's own slots only; the released training counts all 128.
        max_delay: rows that may be given clean at the start of a chunk (arXiv 2512.05964); 0 trains no such network.
        drop: probability of leaving out each of the conditions.
        drop_exterior: of leaving out each picture of the exterior camera; by default likewise.
        state_snr_db: signal-to-noise ratio of the noise on the state.
        augment: change half of the pictures as the released fine-tuning does, by colours, noise and blur, before
            `jitter`.
        embedding_cache: directory of the embeddings that a frozen text encoder gave, for several runs; by default in
            the run's.
    """

    weights: tuple[float, ...] = ()
    embodiments: tuple[str, ...] = ()
    unmarked_colors: ColorOrder = "bgr"
    instruction_variants: bool = True
    exterior: str = "top"
    right_wrist: str = "right_wrist"
    left_wrist: str = "left_wrist"
    history: bool = True
    history_steps: int | None = None
    history_mixer: Mixer | None = None
    relative: bool = False
    chunk: int | None = None
    image_size: int | None = None
    vision_encoder: Annotated[Path | None, tyro.conf.arg(prefix_name=False)] = None
    freeze: Annotated[bool, tyro.conf.arg(prefix_name=False)] = False
    patch_size: int = 8
    objective: Literal["diffusion", "regression"] = "diffusion"
    masked_loss: bool = True
    max_delay: int = 0
    drop: float = 0.1
    drop_exterior: float | None = None
    state_snr_db: float = 40.0
    augment: bool = False
    embedding_cache: Path | None = None

    def __post_init__(self) -> None:
        if self.patch_size < 1:
            raise ValueError(f"patch_size: expected at least 1, found {self.patch_size}")
        size, patch = self.image_size, self.patch_size
        if size is not None and (size < patch or size % patch):
            raise ValueError(f"image_size: expected a multiple of patch_size {patch}, found {size}")
        if not (self.exterior or self.right_wrist or self.left_wrist):
            raise ValueError("cameras: expected at least one of exterior, right_wrist, left_wrist, found none")
        if self.history_steps and not 2 <= self.history_steps <= MAX_HISTORY_STEPS:
            raise ValueError(f"history_steps: expected 0 or 2 to {MAX_HISTORY_STEPS}, found {self.history_steps}")
        if self.history_mixer is not None and not self.history_steps:
            raise ValueError(f"history_mixer: expected history_steps with {self.history_mixer}, found none")
        if self.objective == "regression" and self.max_delay:
            raise ValueError("max_delay: expected 0 with regression, which has no noisy actions")
