"""Gives a network's parameters the values of a file, one at a time, and lets nothing through that does not fit."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Dtype = Literal["stored", "float32", "bfloat16", "float16"]
"""Number format of loaded weights; `stored` leaves them as they are in the file."""


@torch.no_grad()
def replace_parameter(model: nn.Module, name: str, value: Tensor, dtype: Dtype, where: str) -> None:
    """Put a value in the place of a parameter; a new one, so optimizers are to be built afterwards.

    Args:
        model: may have been built without memory (`init_empty_weights`).
        name: of the parameter.
        value: stays on its device if the parameter has no memory, and goes to the parameter's otherwise.
        dtype: number format of the new parameter.
        where: file and key, for the errors.

    Raises:
        ValueError: another shape, no floating-point numbers, or values that are not finite in the format.
    """
    place, _, attribute = name.rpartition(".")
    module = model.get_submodule(place)
    old = module.get_parameter(attribute)
    if value.shape != old.shape:
        raise ValueError(f"{where}: expected shape {tuple(old.shape)}, found {tuple(value.shape)}")
    if not value.is_floating_point():
        raise ValueError(f"{where}: expected floating-point values, found {value.dtype}")
    if dtype != "stored":
        value = value.to(getattr(torch, dtype))
    finite = torch.isfinite(value)
    if not bool(finite.all()):
        raise ValueError(f"{where}: expected finite values, found {int((~finite).sum())} that are not")
    value = value if old.is_meta else value.to(old.device)
    setattr(module, attribute, nn.Parameter(value, requires_grad=old.requires_grad))
