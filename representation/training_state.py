"""What a training run must keep to go on exactly where it stopped, in one safetensors file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

STATE_FILE = "training_state.safetensors"
AverageSchedule = Literal["ratio", "power"]
"""How the decay of the average rises with the steps n before a step, so that the first weights are soon forgotten:
(1 + n) / (10 + n), or 1 - (n + 1)^(-3/4), as in the released training of RDT."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come. Order of the data and augmentation are functions of the seed and the step.

    Attributes:
        step: optimizer steps done.
        elapsed_s: seconds spent, over all starts of the run.
    """

    step: int = 0
    elapsed_s: float = 0.0


def decay_after(step: int, largest: float, schedule: AverageSchedule) -> float:
    """Weight of the past in the moving average after a number of steps; see `AverageSchedule`."""
    rising = (1 + step) / (10 + step) if schedule == "ratio" else 1 - (1 + step) ** -0.75
    return min(largest, rising)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move an exponential moving average of the weights towards the model, and copy its buffers.

    Args:
        average: module of the same structure, changed in place.
        model: the trained module.
        decay: weight of the past.
    """
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1.0 - decay)
    for own, current in zip(average.buffers(), model.buffers(), strict=True):
        own.copy_(current)


def save_state(
    path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write a state atomically.

    Args:
        path: file to write.
        model: the trained module.
        average: its moving average.
        optimizer: over the parameters of `model`.
        progress: how far the run has come.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in (("model", model), ("average", average)):
        tensors |= {f"{name}/{key}": value for key, value in module.state_dict().items()}
    for key, parameter in model.named_parameters():
        tensors |= {f"optimizer/{key}/{name}": value for name, value in optimizer.state[parameter].items()}
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    part = path.with_name(path.name + ".part")
    save_file(tensors, part, metadata={"progress": json.dumps(asdict(progress))})
    part.replace(path)


def load_state(path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Read what `save_state` wrote into the same objects.

    Raises:
        ValueError: the file does not fit them.
    """
    with safe_open(path, framework="pt") as file:
        progress = Progress(**json.loads((file.metadata() or {}).get("progress", "{}")))
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    for name, module in (("model", model), ("average", average)):
        prefix = f"{name}/"
        own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        try:
            module.load_state_dict(own)
        except RuntimeError as error:
            raise ValueError(f"{path}: expected the state of this model, found another: {error}") from error
    for key, parameter in model.named_parameters():
        prefix = f"optimizer/{key}/"
        own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        # Step counts stay on the CPU, where AdamW keeps them.
        optimizer.state[parameter] = {
            name: value if name == "step" else value.to(parameter.device) for name, value in own.items()
        }
    return progress
