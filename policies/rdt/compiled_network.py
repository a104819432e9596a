"""The network's forward pass compiled, for the steps of the sampler: less work between the layers, the same chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from policies.rdt.network import RDTModel


def compiled(model: RDTModel, mode: str) -> Callable[..., Tensor]:
    """Stands for the network where chunks are sampled without a prefix; compiled at its first call.

    Args:
        model: the network.
        mode: of `torch.compile`; "reduce-overhead" replays a CUDA graph.
    """
    forward = torch.compile(model, mode=mode)

    def answer(*inputs: Any) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return forward(*inputs).clone()  # a graph overwrites its answer

    return answer


def best_mode(device: torch.device) -> str:
    """Mode of `torch.compile` for a device."""
    return "reduce-overhead" if device.type == "cuda" else "default"
