"""Weights of frozen encoders, from a local directory of safetensors in one file or in shards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import nn

from policies.parameters import Dtype, replace_parameter

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
                    replace_parameter(encoder, name, file.get_tensor(key), dtype, f"{path}: {key}")
                    loaded.add(name)
        except SafetensorError as error:
            raise ValueError(f"{path}: expected a readable safetensors file, found: {error}") from error
    missing = sorted(expected.keys() - loaded)
    if missing:
        raise ValueError(
            f"{directory}: expected all {len(expected)} weights of the encoder, found {len(loaded)}; "
            f"missing are {missing[:5]}"
        )
