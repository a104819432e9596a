"""Tensors out of files in which published networks come."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor


def released_state(path: Path, inner: str = "") -> dict[str, Tensor]:
    """The tensors of a network by name, without the prefix of a network on several GPUs and without step counts.

    Args:
        path: a file of torch with nothing but tensors, or one of safetensors with the same names.
        inner: key of a file of torch below which they lie, where they do.

    Raises:
        ValueError: something else; names the file.
    """
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
        state = dict(content[inner] if inner and inner in content else content)
        named = {name.removeprefix("module."): value.float() for name, value in state.items()}
    except (
        OSError,
        AttributeError,
        TypeError,
        ValueError,
        RuntimeError,
        SafetensorError,
        pickle.UnpicklingError,
    ) as error:
        raise ValueError(f"{path}: expected tensors of a published network, found others: {error}") from error
    return {name: value for name, value in named.items() if not name.endswith("num_batches_tracked")}


def without_counts(missing: list[str]) -> list[str]:
    """Names of tensors that a network wants, but for the step counts of batch norms."""
    return [name for name in missing if not name.endswith("num_batches_tracked")]
