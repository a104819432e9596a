"""RDT networks on disk: `config.json` as released, and weights in one of the forms of `weights_file.py`.

Sizes are read from the tensors themselves, so a fine-tune without its configuration loads; where both are there they
must agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from accelerate import init_empty_weights
from torch import Tensor

from policies.json_file import read_json
from policies.parameters import Dtype, replace_parameter
from policies.quantization import packed_names, prepare_quantized, replace_packed, save_quantization
from policies.rdt.config import NormStat, RDTConfig
from policies.rdt.network import FIRST_ACTION, RDTModel
from policies.rdt.weights_file import WeightsFormat, find_weights, read_weights, write_weights

CONFIG_FILE = "config.json"
RELEASED_GRID = (2, 3)  # times and cameras, which the tensors do not tell
HISTORY_POSITIONS = "history.mixer.positions"
ATTENTION_KEY = "history.mixer.blocks.layers.0.self_attn.in_proj_weight"
_BLOCK = re.compile(r"model\.blocks\.(\d+)\.")


def load_model(path: Path, norm_stat: NormStat = "var", dtype: Dtype = "stored") -> RDTModel:
    """Load a network.

    Args:
        path: directory, or a file of weights, whose sizes are then its own. Maps that a directory's
            `quantization.json` names become packed ones.
        norm_stat: see `RDTConfig`; the files do not tell.
        dtype: number format of all weights; `stored` is that of the position table in the file.

    Raises:
        FileNotFoundError: no weights.
        ValueError: damaged files, keys missing or too many, shapes that differ, values that are not finite, sizes that
            are not those of `config.json`; names file and key.
    """
    file = find_weights(path)
    weights = read_weights(file)
    try:
        config = replace(config_of(weights), norm_stat=norm_stat)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    if path.is_dir() and (path / CONFIG_FILE).is_file():
        config = _agreed(config, path / CONFIG_FILE)
    with init_empty_weights(include_buffers=False):
        model = RDTModel(config)
    if path.is_dir():
        prepare_quantized(model, path)
    packed = packed_names(model)
    wanted = [*(name for name, _ in model.named_parameters()), *packed]
    missing, extra = sorted(set(wanted) - weights.keys()), sorted(weights.keys() - set(wanted))
    if missing or extra:
        raise ValueError(f"{file}: keys do not fit: missing {missing[:5]}, extra {extra[:5]}")
    for name in wanted:
        if name in packed:
            replace_packed(model, name, weights.pop(name), f"{file}: {name}")
        else:
            replace_parameter(model, name, weights.pop(name), dtype, f"{file}: {name}")
    if dtype == "stored":
        model.to(model.dtype)
    return model.eval()


def save_model(model: RDTModel, directory: Path, form: WeightsFormat = "safetensors") -> None:
    """Write `config.json` and the weights, under the released names."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / CONFIG_FILE).write_text(model.config.to_json(), encoding="utf-8")
    save_quantization(model, directory)
    write_weights(model.state_dict(), directory, form)


def config_of(weights: Mapping[str, Tensor]) -> RDTConfig:
    """Sizes that the tensors tell.

    Raises:
        ValueError: a tensor that tells a size is missing, or has another number of axes; names it.
    """
    x_positions = _shape(weights, "model.x_pos_embed", 3)
    images = _shape(weights, "model.img_cond_pos_embed", 3)[1]
    times, cameras = RELEASED_GRID
    if images % (times * cameras):
        times, cameras = 1, 1  # another grid, which only `config.json` tells
    size = x_positions[2]
    head = _shape(weights, "model.blocks.0.attn.q_norm.weight", 1)[0]
    blocks = {int(match[1]) for key in weights if (match := _BLOCK.match(key))}
    adaptors = {name: _adaptor_kind(weights, name) for name in ("lang_adaptor", "img_adaptor", "state_adaptor")}
    if size % max(1, head):
        raise ValueError(f"model.blocks.0.attn.q_norm.weight: expected a divisor of {size} values, found {head}")
    return RDTConfig(
        hidden_size=size,
        depth=len(blocks),
        num_heads=size // head,
        pred_horizon=x_positions[1] - FIRST_ACTION,
        action_dim=_shape(weights, "model.final_layer.ffn_final.fc2.weight", 2)[0],
        lang_token_dim=_inputs(weights, "lang_adaptor"),
        img_token_dim=_inputs(weights, "img_adaptor"),
        image_grid=(times, cameras, images // (times * cameras)),
        max_lang_cond_len=_shape(weights, "model.lang_cond_pos_embed", 3)[1],
        clean_prefix="model.clean_embed" in weights,
        history_steps=_shape(weights, HISTORY_POSITIONS, 2)[0] if HISTORY_POSITIONS in weights else 0,
        history_mixer="attention" if ATTENTION_KEY in weights else "ponet",
        **adaptors,
    )


def _agreed(found: RDTConfig, path: Path) -> RDTConfig:
    """What the configuration adds to the sizes of the tensors."""
    try:
        stated = RDTConfig.from_dict(read_json(path), found.norm_stat, found.clean_prefix)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    times, cameras, tokens = stated.image_grid
    if times * cameras * tokens == found.img_cond_len:
        found = replace(found, image_grid=stated.image_grid)
    found = replace(
        found,
        num_train_timesteps=stated.num_train_timesteps,
        num_inference_timesteps=stated.num_inference_timesteps,
        prediction_type=stated.prediction_type,
    )
    for name in RDTConfig.__dataclass_fields__:
        if getattr(stated, name) != getattr(found, name):
            raise ValueError(
                f"{path}: {name}: expected {getattr(found, name)!r}, as the weights have it, "
                f"found {getattr(stated, name)!r}"
            )
    return found


def _shape(weights: Mapping[str, Tensor], key: str, axes: int) -> tuple[int, ...]:
    if key not in weights:
        raise ValueError(f"{key}: expected this tensor, found none")
    shape = tuple(weights[key].shape)
    if len(shape) != axes:
        raise ValueError(f"{key}: expected {axes} axes, found shape {shape}")
    return shape


def _adaptor_kind(weights: Mapping[str, Tensor], name: str) -> str:
    layers = sum(key.startswith(f"{name}.") and key.endswith(".weight") for key in weights)
    return "linear" if f"{name}.weight" in weights else f"mlp{layers}x_gelu"


def _inputs(weights: Mapping[str, Tensor], name: str) -> int:
    return _shape(weights, f"{name}.weight" if f"{name}.weight" in weights else f"{name}.0.weight", 2)[1]
