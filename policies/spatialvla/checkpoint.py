"""Weights on disk: safetensors under the key names of the released checkpoints, in one file or in shards with an index.

Loading touches one tensor at a time: a model that was built without memory (`empty_model`) never holds its weights
twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from accelerate import init_empty_weights
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from policies.json_file import read_json
from policies.parameters import Dtype, replace_parameter
from policies.quantization import packed_names, prepare_quantized, replace_packed, save_quantization
from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.model import SpatialVLAModel

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
MAX_SHARD_BYTES = 5 * 10**9
DEPTH_NETWORK = "vision_zoe_model."

Rule = tuple[str, str | Callable[[re.Match[str]], str]]
# Our modules -> the released names, as pattern and replacement: the library has renamed parts of SigLIP and BEiT since.
_RENAMED: tuple[Rule, ...] = (
    (r"^vision_tower\.", "vision_tower.vision_model."),
    (r"^vision_zoe_model\.backbone\.beit\.embeddings\.", "vision_zoe_model.backbone.embeddings."),
    (r"^vision_zoe_model\.backbone\.beit\.layers\.(\d+)\.", r"vision_zoe_model.backbone.encoder.layer.\1."),
)
_PROJECTIONS = {"q": "query", "k": "key", "v": "value"}
_RENAMED_IN_BEIT: tuple[Rule, ...] = (
    (r"\.attention\.([qkv])_proj\.", lambda match: f".attention.attention.{_PROJECTIONS[match[1]]}."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.relative_position_bias\.relative", ".attention.attention.relative_position_bias.relative"),
)
_SHARD_NAME = re.compile(r"[\w-][\w.-]*\.safetensors")


def released_name(name: str) -> str:
    """Key on disk of a parameter of `SpatialVLAModel`."""
    rules = _RENAMED + (_RENAMED_IN_BEIT if name.startswith("vision_zoe_model.backbone.beit.layers.") else ())
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def empty_model(config: SpatialVLAConfig) -> SpatialVLAModel:
    """Build a model whose parameters have shapes and no memory, for `load_weights` to give them theirs."""
    with init_empty_weights(include_buffers=False):
        return SpatialVLAModel(config)


def save_weights(model: SpatialVLAModel, directory: Path, max_shard_bytes: int = MAX_SHARD_BYTES) -> None:
    """Write `model.safetensors`, or shards of at most `max_shard_bytes` and their index.

    The text table's action rows are brought in step with the spatial table first. The depth network, which runs in
    float32, is stored in the number format of the language model. Packed maps are written as they are.
    """
    model.synchronize_action_embeddings()
    stored = model.language_model.lm_head.weight.dtype
    tensors = {}
    save_quantization(model, directory)
    for name, tensor in model.state_dict().items():
        kept = tensor.to(stored) if name.startswith(DEPTH_NETWORK) else tensor
        tensors[released_name(name)] = kept.detach().cpu().contiguous()
    for old in (*directory.glob("model*.safetensors"), directory / INDEX_FILE):
        old.unlink(missing_ok=True)
    split = split_torch_state_dict_into_shards(tensors, max_shard_size=max_shard_bytes)
    for file, names in split.filename_to_tensors.items():
        save_file({name: tensors[name] for name in names}, directory / file, metadata={"format": "pt"})
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (directory / INDEX_FILE).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_weights(
    model: SpatialVLAModel, directory: Path, dtype: Dtype = "stored", ignored: tuple[str, ...] = ()
) -> None:
    """Give every parameter of a model the values on disk, file by file and tensor by tensor.

    Args:
        model: its parameters are replaced, so build optimizers afterwards. May have been built by `empty_model`.
        directory: holds `model.safetensors` or, if there is one, `model.safetensors.index.json` and its shards. Maps
            that its `quantization.json` names become packed ones.
        dtype: number format of the loaded weights; the depth network is always loaded as float32, because bfloat16
            moves its points by centimetres.
        ignored: prefixes of keys that the files may have beyond the model's.

    Raises:
        FileNotFoundError: no weights, or a shard is missing.
        ValueError: unreadable file, missing or extra keys, other shapes, or values that are not finite; names the
            file and the key.
    """
    prepare_quantized(model, directory)
    packed = set(packed_names(model))
    expected = {released_name(name): name for name in [*(name for name, _ in model.named_parameters()), *packed]}
    places = _places(directory)
    missing = sorted(set(expected) - set(places))
    extra = sorted(key for key in set(places) - set(expected) if not key.startswith(ignored or ("\0",)))
    if missing or extra:
        where = directory / (INDEX_FILE if (directory / INDEX_FILE).is_file() else WEIGHTS_FILE)
        raise ValueError(f"{where}: keys do not fit config.json: missing {missing[:5]}, extra {extra[:5]}")
    for path in sorted(set(places.values())):
        with _opened(path) as file:
            for key in file.keys():  # noqa: SIM118, a safetensors file is no mapping
                if key not in expected:
                    continue
                name = expected[key]
                if name in packed:
                    replace_packed(model, name, file.get_tensor(key), f"{path}: {key}")
                else:
                    own = "float32" if name.startswith(DEPTH_NETWORK) else dtype
                    replace_parameter(model, name, file.get_tensor(key), own, f"{path}: {key}")


def _places(directory: Path) -> dict[str, Path]:
    """File of every key; files and index must agree."""
    index_path = directory / INDEX_FILE
    if not index_path.is_file():
        path = directory / WEIGHTS_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{path}: expected the policy's weights (or {INDEX_FILE}), found no such file")
        return dict.fromkeys(_keys(path), path)
    weight_map = read_json(index_path).get("weight_map")
    if not isinstance(weight_map, Mapping) or not weight_map:
        raise ValueError(f"{index_path}: weight_map: expected an object of file names by key, found {weight_map!r}")
    for key, file in weight_map.items():
        if not isinstance(file, str) or not _SHARD_NAME.fullmatch(file):
            raise ValueError(f"{index_path}: {key}: expected the name of a safetensors file beside it, found {file!r}")
    places: dict[str, Path] = {}
    for file in sorted(set(weight_map.values())):
        path = directory / file
        if not path.is_file():
            raise FileNotFoundError(f"{path}: expected a shard of {index_path.name}, found no such file")
        found, listed = _keys(path), {key for key, place in weight_map.items() if place == file}
        if found != listed:
            raise ValueError(
                f"{path}: keys do not fit {index_path.name}: missing {sorted(listed - found)[:5]}, "
                f"extra {sorted(found - listed)[:5]}"
            )
        places |= dict.fromkeys(found, path)
    return places


def _keys(path: Path) -> set[str]:
    with _opened(path) as file:
        return set(file.keys())


def _opened(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file: {error}") from error
