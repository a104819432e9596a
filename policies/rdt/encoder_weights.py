"""Weights of frozen encoders, from a local directory of safetensors in one file or in shards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

Dtype = Literal["stored", "float32", "bfloat16", "float16"]
"""Number format of loaded weights; `stored` leaves them as they are in the file."""
WEIGHTS_FILE = "model.safetensors"
SHARDS = "model-*-of-*.safetensors"


def weight_files(directory: Path) -> list[Path]:
    """The file of weights of a directory, or its shards.

    Raises:
        FileNotFoundError: there are none.
    """
    whole = directory / WEIGHTS_FILE
    files = [whole] if whole.is_file() else sorted(directory.glob(SHARDS))
    if not files:
        raise FileNotFoundError(f"{directory}: expected {WEIGHTS_FILE} or {SHARDS}, found neither")
    return files


@torch.no_grad()
def load_weights(
    encoder: nn.Module, directory: Path, name_of: Callable[[str], str], ignored: Sequence[str], dtype: Dtype
) -> None:
    """Give every parameter of an encoder the values on disk, tensor by tensor.

    Args:
        encoder: its parameters are replaced; it may have been built without memory (`init_empty_weights`).
        directory: holds the weights.
        name_of: parameter of a key on disk.
        ignored: beginnings of parameter names that the files may have beyond the encoder's.
        dtype: number format of all weights.

    Raises:
        FileNotFoundError: no weights.
        ValueError: an unreadable file, missing or extra keys, other shapes, or values that are not finite; names the
            file and the key.
    """
    expected = dict(encoder.named_parameters())
    loaded: set[str] = set()
    for path in weight_files(directory):
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118, a safetensors file is no mapping
                    name = name_of(key)
                    if name not in expected:
                        if name.startswith(tuple(ignored)):
                            continue
                        raise ValueError(f"{path}: {key}: expected a weight of the encoder, found another")
                    _replace(encoder, name, file.get_tensor(key), dtype, f"{path}: {key}")
                    loaded.add(name)
        except SafetensorError as error:
            raise ValueError(f"{path}: expected a readable safetensors file, found: {error}") from error
    missing = sorted(expected.keys() - loaded)
    if missing:
        raise ValueError(
            f"{directory}: expected all {len(expected)} weights of the encoder, found {len(loaded)}; "
            f"missing are {missing[:5]}"
        )


def _replace(encoder: nn.Module, name: str, value: torch.Tensor, dtype: Dtype, where: str) -> None:
    place, _, attribute = name.rpartition(".")
    module = encoder.get_submodule(place)
    old = module.get_parameter(attribute)
    if value.shape != old.shape:
        raise ValueError(f"{where}: expected shape {tuple(old.shape)}, found {tuple(value.shape)}")
    if not value.is_floating_point():
        raise ValueError(f"{where}: expected floating-point values, found {value.dtype}")
    if dtype != "stored":
        value = value.to(getattr(torch, dtype))
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"{where}: expected finite values, found {int((~torch.isfinite(value)).sum())} that are not")
    setattr(module, attribute, nn.Parameter(value, requires_grad=False))
