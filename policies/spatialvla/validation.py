"""`validate`: how a SpatialVLA network does on held-out frames."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policies.spatialvla.action_tokenizer import TOKENS_PER_ACTION
from policies.spatialvla.decoding import decode_greedy
from policies.spatialvla.model import SpatialVLAModel
from policies.spatialvla.processor import hold_after_end
from policies.training_data import TrainingData

SLOTS = ("translation", "rotation", "gripper")
_GROUPS = {"translation_m": slice(0, 3), "rotation_rad": slice(3, 6), "gripper": slice(6, 7)}


def to_device(inputs: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The same inputs on a device."""
    return {name: value.to(device, non_blocking=True) for name, value in inputs.items()}


@torch.inference_mode()
def validate(
    model: SpatialVLAModel, data: TrainingData, frames: NDArray[np.int64], batch_size: int
) -> dict[str, float]:
    """Measure a model on held-out frames.

    Args:
        model: in evaluation mode.
        data: holds the frames.
        frames: frame numbers.
        batch_size: frames per forward pass.

    Returns:
        `loss`; `accuracy` of the tokens given the true ones before them, overall and by slot; `l1` of greedily decoded
        actions in physical units (metres, radians, opening) by group of frames, the mean over rows and entries.
    """
    device = next(model.parameters()).device
    slots, chunk = data.processor.actions.slot_ranges(), data.processor.settings.chunk
    losses, hits, errors = [], [], []
    for start in range(0, len(frames), batch_size):
        part = frames[start : start + batch_size]
        inputs = to_device(data.batch(part), device)
        output = model(**inputs)
        tokens = chunk * TOKENS_PER_ACTION
        labels = inputs["labels"][:, -tokens - 1 : -1]
        hits.append((output.logits[:, -tokens - 2 : -2].argmax(-1) == labels).cpu().numpy())
        losses.append(float(output.loss) * len(part))
        prompt = to_device(data.batch(part, with_actions=False), device)
        ids, _ = decode_greedy(model, prompt, slots, chunk)
        truth = hold_after_end(*data.chunks(part))
        errors.append(np.abs(data.processor.decode(ids.cpu().numpy(), data.keys_of(part)) - truth).mean(axis=1))
    hit = np.concatenate(hits).reshape(len(frames), chunk, TOKENS_PER_ACTION)
    error = np.concatenate(errors)
    result = {"loss": sum(losses) / len(frames), "accuracy": float(hit.mean())}
    result |= {f"accuracy/{name}": float(hit[..., slot].mean()) for slot, name in enumerate(SLOTS)}
    for number, name in enumerate(data.columns.group_names):
        own = error[data.columns.group[frames] == number]
        if len(own):
            result |= {f"l1/{name}/{group}": float(own[:, columns].mean()) for group, columns in _GROUPS.items()}
    return result
