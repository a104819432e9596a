"""Weights of the reference implementation: several residual networks `model0`, `model1`, ... under one `classifier`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from representation.image_tower import Kind, TowerConfig, TowerEncoder
from representation.transfer.rich_representations.cat_encoder import SYSTEM, CatEncoder

_MEMBER = re.compile(r"model(\d+)\.(.+)")
_EPS = 1e-5


def load_released(path: Path) -> tuple[CatEncoder, nn.Linear | None]:
    """Read a concatenation of residual networks with torchvision's names, of 18 or 50 layers, and its classifier.

    A classifier of a batch normalisation and a linear layer becomes one linear layer; classifiers of single members
    (`model0.fc`) are left out.

    Args:
        path: a file of safetensors, or one of torch with a state dict, bare or under `state_dict` or `model`.

    Raises:
        ValueError: no members, tensors that are missing, unknown or of another shape; names the file.
    """
    raw = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    raw = next((raw[name] for name in ("state_dict", "model") if isinstance(raw.get(name), Mapping)), raw)
    members: dict[int, dict[str, Tensor]] = {}
    head: dict[str, Tensor] = {}
    for name, value in raw.items():
        name = name.removeprefix("module.")
        match = _MEMBER.fullmatch(name)
        if match and not match[2].startswith("fc."):
            members.setdefault(int(match[1]), {})[match[2]] = value
        elif name.startswith("classifier."):
            head[name.removeprefix("classifier.")] = value
    try:
        if sorted(members) != list(range(len(members))) or not members:
            raise ValueError(f"expected members model0, model1, ..., found {sorted(members)}")
        encoders = [_tower(members[number]) for number in range(len(members))]
        return CatEncoder(encoders), _linear(head) if head else None
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path}: expected residual networks side by side, found others: {error}") from error


def _tower(state: Mapping[str, Tensor]) -> TowerEncoder:
    kind: Kind = "resnet50" if "layer1.0.conv3.weight" in state else "resnet18"
    encoder = TowerEncoder(TowerConfig(kind, len(state["conv1.weight"]), 224, "large", pool=True), SYSTEM)
    encoder.tower.load_state_dict(state)
    return encoder.eval()


def _linear(state: Mapping[str, Tensor]) -> nn.Linear:
    if "weight" in state:
        weight, bias = state["weight"], state["bias"]
    else:
        scale = state["0.weight"] * (state["0.running_var"] + _EPS).rsqrt()
        weight = state["1.weight"] * scale
        bias = state["1.bias"] + state["1.weight"] @ (state["0.bias"] - state["0.running_mean"] * scale)
    head = nn.Linear(weight.shape[1], weight.shape[0])
    head.load_state_dict({"weight": weight, "bias": bias})
    return head
