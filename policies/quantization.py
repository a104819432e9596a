"""Policies with packed weights on disk: which linear maps of a network are packed, and in what.

`quantization.json` beside the weights names the maps; the weights file then has codes and scales in place of their
weights. Without that file a network is what it always was.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from policies.json_file import read_json, write_json
from representation.compression.topkld import IntFormat, QuantizedLinear, format_named, replace_linear

QUANTIZATION_FILE = "quantization.json"
_FIELDS = {"format", "activations", "smoothed"}


def save_quantization(model: nn.Module, directory: Path) -> None:
    """Write which maps of a network are packed; remove the file where none is."""
    maps = {
        name: {
            "format": part.format.name,
            "activations": None if part.activations is None else part.activations.name,
            "smoothed": part.smoothing is not None,
        }
        for name, part in model.named_modules()
        if isinstance(part, QuantizedLinear)
    }
    if maps:
        write_json(directory / QUANTIZATION_FILE, {"maps": maps})
    else:
        (directory / QUANTIZATION_FILE).unlink(missing_ok=True)


def prepare_quantized(model: nn.Module, directory: Path) -> None:
    """Put packed maps, still empty, where a directory says that they are.

    Args:
        model: may have been built without memory.
        directory: of a policy; one without `quantization.json` changes nothing.

    Raises:
        ValueError: a name that is no linear map of the network, or an unknown format; names file and map.
    """
    path = directory / QUANTIZATION_FILE
    if not path.is_file():
        return
    maps = read_json(path).get("maps")
    if not isinstance(maps, Mapping):
        raise ValueError(f"{path}: maps: expected an object, found {type(maps).__name__}")
    linear = {name: part for name, part in model.named_modules() if type(part) is nn.Linear}
    for name, content in maps.items():
        if name not in linear:
            raise ValueError(f"{path}: {name}: expected the name of a linear map of the network, found none such")
        replace_linear(model, name, _empty(linear[name], content, f"{path}: {name}"))


def _empty(linear: nn.Linear, content: Any, where: str) -> QuantizedLinear:
    if not isinstance(content, Mapping) or content.keys() != _FIELDS or not isinstance(content["smoothed"], bool):
        raise ValueError(f"{where}: expected {sorted(_FIELDS)}, found {content!r}")
    activations = None
    try:
        format = format_named(str(content["format"]))
        if content["activations"] is not None:
            activations = format_named(str(content["activations"]))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if activations is not None and not isinstance(activations, IntFormat):
        raise ValueError(f"{where}: activations: expected integers, found {content['activations']!r}")
    has_bias = linear.bias is not None
    return QuantizedLinear(
        linear.in_features, linear.out_features, format, has_bias, activations, content["smoothed"]
    ).eval()


def refuse_quantized(directory: Path) -> None:
    """Refuse to train a policy whose weights are packed.

    Raises:
        ValueError: it is one.
    """
    if (directory / QUANTIZATION_FILE).is_file():
        raise ValueError(
            f"{directory}: expected a policy of full precision, which can be trained, found {QUANTIZATION_FILE}"
        )


def packed_names(model: nn.Module) -> list[str]:
    """Names of the tensors of packed maps that are no parameters: codes, scales, zero points, factors."""
    return [
        f"{name}.{attribute}"
        for name, part in model.named_modules()
        if isinstance(part, QuantizedLinear)
        for attribute, _ in part.named_buffers(recurse=False)
    ]


def replace_packed(model: nn.Module, name: str, value: Tensor, where: str) -> None:
    """Put a tensor of a file in the place of one of `packed_names`.

    Raises:
        ValueError: another shape or kind of number, scales that are not finite and positive.
    """
    place, _, attribute = name.rpartition(".")
    module = model.get_submodule(place)
    old = getattr(module, attribute)
    if value.shape != old.shape or value.dtype != old.dtype:
        raise ValueError(
            f"{where}: expected {old.dtype} of shape {tuple(old.shape)}, found {value.dtype} of {tuple(value.shape)}"
        )
    if value.is_floating_point() and not bool((torch.isfinite(value) & (value > 0)).all()):
        raise ValueError(f"{where}: expected finite and positive values, found others")
    setattr(module, attribute, value.to(old.device))
