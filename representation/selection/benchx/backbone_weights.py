"""Weights of a backbone out of a checkpoint of something larger."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

_HEADS = ("head.", "fc.")


class LoadedKeys(NamedTuple):
    """What did not fit.

    Attributes:
        missing: names of weights that the backbone has and the checkpoint lacks.
        unexpected: likewise, the other way round.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def load_backbone_weights(model: nn.Module, path: Path, prefix: str = "") -> LoadedKeys:
    """Read weights into a backbone; what neither has stays as it is, and is told.

    `state_dict` or `model` of the file is taken, if there; names that contain the prefix, up to the end of which they
    are cut; classifiers (`head.`, `fc.`) are left out.

    Args:
        model: the backbone.
        path: safetensors, or a file of torch that holds tensors alone.
        prefix: of the backbone in the checkpoint.

    Raises:
        ValueError: the file is damaged, no weight of it fits, or one has another shape.
    """
    state = _backbone_state(_read(path), prefix)
    own = model.state_dict()
    fitting = {name: value for name, value in state.items() if name in own}
    if not fitting:
        raise ValueError(f"{path}: expected weights as {sorted(own)[:3]}, found {sorted(state)[:3]}")
    wrong = [name for name, value in fitting.items() if value.shape != own[name].shape]
    if wrong:
        shapes = tuple(own[wrong[0]].shape), tuple(fitting[wrong[0]].shape)
        raise ValueError(f"{path}: {wrong[0]}: expected {shapes[0]}, found {shapes[1]}")
    found = model.load_state_dict(state, strict=False)
    return LoadedKeys(tuple(found.missing_keys), tuple(found.unexpected_keys))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError, UnpicklingError) as error:
        raise ValueError(f"{path}: expected a file of weights alone, found {error}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected weights by name, found {type(content).__name__}")
    return next((content[key] for key in ("state_dict", "model") if key in content), content)


def _backbone_state(content: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    found = {}
    for name, value in content.items():
        if isinstance(value, Tensor) and prefix in name:
            short = name[name.index(prefix) + len(prefix) :] if prefix else name
            if not short.startswith(_HEADS):
                found[short] = value
    return found
