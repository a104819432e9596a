"""Low-rank adapters for fine-tuning (LoRA, arXiv 2106.09685).

Which linear maps are adapted is a matter of the network: see `policies.spatialvla.adapted_maps` and
`policies.rdt.adapted_maps`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import nn

from policies.json_file import write_json

ADAPTERS_DIRECTORY = "adapters"
ADAPTER_WEIGHTS, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
_START = "gaussian"
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """How a policy is fine-tuned by adapters.

    Attributes:
        rank: of the adapters; 0 trains all weights instead.
        alpha: scale of an adapter's change is alpha / rank.
        dropout: before the adapters.
        train_tables: also train a SpatialVLA policy's tables of the action tokens, in and out.
    """

    rank: int = 0
    alpha: float = 32.0
    dropout: float = 0.0
    train_tables: bool = False

    def __post_init__(self) -> None:
        if self.rank < 0 or not self.alpha > 0 or not 0 <= self.dropout < 1:
            raise ValueError(
                "lora: expected rank >= 0, alpha > 0 and dropout in [0, 1), "
                f"found {self.rank}, {self.alpha}, {self.dropout}"
            )


def add_adapters(model: nn.Module, settings: LoraSettings, targets: str) -> None:
    """Put fresh adapters into a model and freeze everything else; its outputs do not change.

    Args:
        model: changed in place.
        settings: see `LoraSettings`.
        targets: pattern that the whole name of a linear map matches if it is to be adapted.
    """
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        init_lora_weights=_START,
    )
    inject_adapter_in_model(config, model)


def merged(model: Model) -> Model:
    """A copy with the adapters added to the weights, an ordinary model again; the model itself if it has none."""
    if not any(isinstance(module, LoraLayer) for module in model.modules()):
        return model
    whole = copy.deepcopy(model)
    for name, module in list(whole.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            place, _, attribute = name.rpartition(".")
            setattr(whole.get_submodule(place), attribute, module.get_base_layer())
    del whole.peft_config
    return whole


def save_adapters(model: nn.Module, settings: LoraSettings, targets: str, base: str, directory: Path) -> None:
    """Write adapters alone, in the files and under the names that peft gives them.

    Args:
        model: with adapters.
        settings: those that they were made with.
        targets: likewise.
        base: the policy that they change.
        directory: made if it is not there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"base_model.model.{name}": tensor.detach().cpu().contiguous()
        for name, tensor in get_peft_model_state_dict(model).items()
    }
    save_file(tensors, directory / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    content = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "target_modules": targets,
        "init_lora_weights": _START,
        "bias": "none",
        "inference_mode": True,
    }
    write_json(directory / ADAPTER_CONFIG, content)


def trainable_parameters(model: nn.Module) -> int:
    """Number of weights that training changes."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
