"""Files of RDT weights: safetensors, the hub's `pytorch_model.bin`, and DeepSpeed's `mp_rank_00_model_states.pt`.

Pickled forms are read with `weights_only`, which builds tensors and containers and nothing else.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

WeightsFormat = Literal["safetensors", "hub", "deepspeed"]
FILES: dict[WeightsFormat, str] = {
    "safetensors": "model.safetensors",
    "hub": "pytorch_model.bin",
    "deepspeed": "pytorch_model/mp_rank_00_model_states.pt",
}
"""Place of each form in a checkpoint's directory, in the order in which they are looked for."""
DEEPSPEED_KEY = "module"


def find_weights(path: Path) -> Path:
    """The weights of a directory, or the file itself.

    Raises:
        FileNotFoundError: none of the known files is there.
    """
    if path.is_file():
        return path
    for name in FILES.values():
        if (path / name).is_file():
            return path / name
    raise FileNotFoundError(f"{path}: expected weights, one of {list(FILES.values())}, found none")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by key, on the CPU.

    Raises:
        ValueError: unreadable, or something other than tensors; names the file and the key.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path}: not a readable safetensors file: {error}") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path}: expected a file of tensors alone, found another: {error}") from error
    if path.suffix == ".pt" and isinstance(content, Mapping):
        if DEEPSPEED_KEY not in content:
            raise ValueError(
                f"{path}: expected weights under the key {DEEPSPEED_KEY!r}, found keys {list(content)[:5]}"
            )
        content = content[DEEPSPEED_KEY]
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected tensors by key, found {type(content).__name__}")
    for key, value in content.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{path}: {key}: expected a tensor, found {type(value).__name__}")
    return dict(content)


def write_weights(tensors: Mapping[str, Tensor], directory: Path, form: WeightsFormat) -> None:
    """Write a form of weights, and remove other forms, which would be read instead."""
    plain = OrderedDict((key, value.detach().cpu().contiguous()) for key, value in tensors.items())
    for name in FILES.values():
        (directory / name).unlink(missing_ok=True)
    path = directory / FILES[form]
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "safetensors":
        save_file(plain, path, metadata={"format": "pt"})
    else:
        torch.save({DEEPSPEED_KEY: plain} if form == "deepspeed" else plain, path)
