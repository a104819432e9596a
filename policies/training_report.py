"""How a training run does: held-out metrics, a JSONL file of numbers and a picture of the loss."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policies.spatialvla.action_tokenizer import TOKENS_PER_ACTION
from policies.spatialvla.decoding import decode_greedy
from policies.spatialvla.model import SpatialVLAModel
from policies.spatialvla.processor import hold_after_end
from policies.training_data import TrainingData

METRICS_FILE = "metrics.jsonl"
PICTURE_FILE = "loss.png"
SLOTS = ("translation", "rotation", "gripper")
DRAWN = ("validation/accuracy/", "validation/error/")
"""Held-out measures that are drawn."""
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
        errors.append(np.abs(data.processor.decode(ids.cpu().numpy()) - truth).mean(axis=1))
    hit = np.concatenate(hits).reshape(len(frames), chunk, TOKENS_PER_ACTION)
    error = np.concatenate(errors)
    result = {"loss": sum(losses) / len(frames), "accuracy": float(hit.mean())}
    result |= {f"accuracy/{name}": float(hit[..., slot].mean()) for slot, name in enumerate(SLOTS)}
    for number, name in enumerate(data.columns.group_names):
        own = error[data.columns.group[frames] == number]
        if len(own):
            result |= {f"l1/{name}/{group}": float(own[:, columns].mean()) for group, columns in _GROUPS.items()}
    return result


class MetricsLog:
    """Numbers of a run, one JSON object a line, in `metrics.jsonl`.

    Args:
        directory: of the run.
        step: lines of later steps, written by a run that was killed after its last save, are dropped.
    """

    def __init__(self, directory: Path, step: int) -> None:
        self.path = directory / METRICS_FILE
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        self.rows: list[dict[str, Any]] = [row for row in map(_parse_line, lines) if row and row["step"] <= step]
        self.path.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one object; it has a `step`."""
        self.rows.append(dict(row))
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def draw(self) -> None:
        """Draw loss, held-out accuracy or error, and learning rate over the steps into `loss.png`."""
        # Imported late: drawing is not needed to train on a machine without fonts or displays.
        from matplotlib.figure import Figure

        training = [row for row in self.rows if "loss" in row]
        held_out = [row for row in self.rows if "validation/loss" in row]
        figure = Figure(figsize=(9, 7), layout="constrained")
        loss, measure, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1))
        steps = [row["step"] for row in training]
        loss.plot(steps, [row["loss"] for row in training], linewidth=0.8, label="training")
        marked = [row["step"] for row in held_out]
        loss.plot(
            marked, [row["validation/loss"] for row in held_out], "o-", label="held-out episodes (averaged weights)"
        )
        loss.set_ylabel("loss")
        for name in [key for key in (held_out[-1] if held_out else {}) if key.startswith(DRAWN)]:
            measure.plot(marked, [row[name] for row in held_out], "o-", label=name.removeprefix("validation/"))
        measure.set_ylabel("held-out")
        rate.plot(steps, [row["lr"] for row in training])
        rate.set_ylabel("learning rate")
        rate.set_xlabel("step")
        for axes in (loss, measure):
            if axes.lines:
                axes.legend()
            axes.grid(alpha=0.3)
        figure.savefig(self.path.with_name(PICTURE_FILE), dpi=100)


def _parse_line(line: str) -> dict[str, Any] | None:
    # A killed run may leave half a line.
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None
