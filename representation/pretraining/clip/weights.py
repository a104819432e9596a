"""Weights of CLIP from every form that they are published in, and in our own: `config.json` and `model.safetensors`."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from representation.pretraining.clip.config import HEAD_WIDTH, CLIPConfig, config_of
from representation.pretraining.clip.model import CLIP

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
_SCALARS = ("input_resolution", "context_length", "vocab_size")
"""That the released archives hold besides weights."""
_BLOCK = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_NAMES = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding": "visual.conv1",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
    "vision_model.encoder.layers": "visual.transformer.resblocks",
    "text_model.embeddings.token_embedding": "token_embedding",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final",
    "text_model.encoder.layers": "transformer.resblocks",
}


def load_clip(path: Path, device: str = "cpu") -> CLIP:
    """Read a CLIP in float32, in evaluation mode.

    Args:
        path: a directory of ours or of transformers (`CLIPModel`), a released `.pt` archive (TorchScript: tensors are
            taken out, nothing of it is run), or a `.pt`, `.pth` or `.safetensors` file with the same names.
        device: where it runs.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a tensor is missing, unknown or of another shape; names it.
    """
    state, config = _read(path)
    # Counts of batches stay whole numbers.
    state = {
        name: value.float() if value.is_floating_point() else value
        for name, value in state.items()
        if name not in _SCALARS
    }
    config = config or config_of(state)
    with torch.device("meta"):
        model = CLIP(config)
    expected = model.state_dict()
    for name in sorted(expected.keys() | state.keys()):
        found, wanted = state.get(name), expected.get(name)
        if found is None or wanted is None or found.shape != wanted.shape:
            shapes = [None if tensor is None else tuple(tensor.shape) for tensor in (wanted, found)]
            raise ValueError(f"{path}: {name}: expected shape {shapes[0]}, found {shapes[1]}")
    model.load_state_dict(state, assign=True)
    return model.to(device).eval()


def save_clip(model: CLIP, directory: Path) -> None:
    """Write `config.json` and `model.safetensors`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / CONFIG_FILE).write_text(json.dumps(asdict(model.config), indent=2) + "\n")
    save_file({name: value.contiguous().cpu() for name, value in model.state_dict().items()}, directory / WEIGHTS_FILE)


def to_transformers(model: CLIP) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Fields of a `CLIPConfig` of transformers, and weights of its `CLIPModel`.

    Raises:
        ValueError: the image tower is a residual network, which that class does not have.
    """
    sizes = model.config
    if sizes.vision_patch_size is None:
        raise ValueError("image tower: expected a vision transformer, found a residual network")
    heads = max(1, sizes.vision_width // HEAD_WIDTH)
    common = {"hidden_act": sizes.activation, "projection_dim": sizes.embed_dim}
    config = {
        "projection_dim": sizes.embed_dim,
        "vision_config": common
        | {
            "hidden_size": sizes.vision_width,
            "intermediate_size": 4 * sizes.vision_width,
            "num_hidden_layers": sizes.vision_layers,
            "num_attention_heads": heads,
            "image_size": sizes.image_resolution,
            "patch_size": sizes.vision_patch_size,
        },
        "text_config": common
        | {
            "vocab_size": sizes.vocab_size,
            "hidden_size": sizes.transformer_width,
            "intermediate_size": 4 * sizes.transformer_width,
            "num_hidden_layers": sizes.transformer_layers,
            "num_attention_heads": sizes.transformer_heads,
            "max_position_embeddings": sizes.context_length,
            "eos_token_id": sizes.vocab_size - 1,
        },
    }
    return config, {name: value for ours, tensor in model.state_dict().items() for name, value in _split(ours, tensor)}


def _read(path: Path) -> tuple[dict[str, Tensor], CLIPConfig | None]:
    if path.is_dir():
        content = json.loads((path / CONFIG_FILE).read_text(encoding="utf-8"))
        state = load_file(path / WEIGHTS_FILE)
        if "vision_config" in content:
            return _from_transformers(state), _config_of_transformers(content, path)
        layers = content.get("vision_layers")
        content["vision_layers"] = tuple(layers) if isinstance(layers, list) else layers
        try:
            return state, CLIPConfig(**content)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path / CONFIG_FILE}: expected the sizes of a CLIP: {error}") from error
    if path.suffix == ".safetensors":
        return load_file(path), None
    if _is_torchscript(path):
        return dict(torch.jit.load(path, map_location="cpu").state_dict()), None
    return dict(torch.load(path, map_location="cpu", weights_only=True)), None


def _is_torchscript(path: Path) -> bool:
    """Whether a `.pt` file is an archive of code and weights, which only `torch.jit` reads."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def _config_of_transformers(content: Mapping[str, Any], path: Path) -> CLIPConfig:
    vision, text = content["vision_config"], content["text_config"]
    activations = {part.get("hidden_act", "quick_gelu") for part in (vision, text)}
    if len(activations) > 1:
        raise ValueError(f"{path / CONFIG_FILE}: hidden_act: expected one for both towers, found {activations}")
    # The file leaves out what has its default there.
    width, heads = vision.get("hidden_size", 768), vision.get("num_attention_heads", 12)
    if heads != max(1, width // HEAD_WIDTH):
        raise ValueError(
            f"{path / CONFIG_FILE}: vision_config.num_attention_heads: expected {HEAD_WIDTH} numbers to a head, so "
            f"{max(1, width // HEAD_WIDTH)}, found {heads}"
        )
    return CLIPConfig(
        embed_dim=content.get("projection_dim", 512),
        image_resolution=vision.get("image_size", 224),
        vision_layers=vision.get("num_hidden_layers", 12),
        vision_width=width,
        vision_patch_size=vision.get("patch_size", 32),
        context_length=text.get("max_position_embeddings", 77),
        vocab_size=text.get("vocab_size", 49408),
        transformer_width=text.get("hidden_size", 512),
        transformer_heads=text.get("num_attention_heads", 8),
        transformer_layers=text.get("num_hidden_layers", 12),
        activation=activations.pop(),
    )


def _from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {"logit_scale": state["logit_scale"]}
    found["visual.proj"] = state["visual_projection.weight"].T.contiguous()
    found["text_projection"] = state["text_projection.weight"].T.contiguous()
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        for theirs, ours in _NAMES.items():
            if not name.startswith(theirs):
                continue
            rest = name.removeprefix(theirs)
            tower, _, leaf = rest.rpartition("self_attn.")
            if leaf.split(".")[0] in ("q_proj", "k_proj", "v_proj"):
                kind = leaf.split(".")[1]
                parts.setdefault(f"{ours}{tower}attn.in_proj_{kind}", {})[leaf[0]] = value
                continue
            for a, b in _BLOCK.items():
                rest = rest.replace(a, b)
            found[ours + rest] = value
    return found | {name: torch.cat([own[letter] for letter in "qkv"]) for name, own in parts.items()}


def _split(ours: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    """Names in transformers, and values, of one of our tensors."""
    if ours == "visual.proj":
        return [("visual_projection.weight", tensor.T.contiguous())]
    if ours == "text_projection":
        return [("text_projection.weight", tensor.T.contiguous())]
    for theirs, name in _NAMES.items():
        if ours != name and not ours.startswith(name + "."):
            continue
        rest = ours.removeprefix(name)
        if "in_proj" in rest:
            block, _, kind = rest.rpartition("attn.in_proj_")
            thirds = zip("qkv", tensor.chunk(3), strict=True)
            return [(f"{theirs}{block}self_attn.{letter}_proj.{kind}", part.contiguous()) for letter, part in thirds]
        for a, b in _BLOCK.items():
            rest = rest.replace(b, a)
        return [(theirs + rest, tensor)]
    return [(ours, tensor)]
