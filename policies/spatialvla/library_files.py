"""The files of the released layout that we do not read: other libraries expect them beside the weights.

A directory that was loaded hands its own on; for a policy that was made here they are written anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from policies.json_file import read_json, write_json
from policies.spatialvla.config import SpatialVLAConfig

LIBRARY_FILES = (
    "generation_config.json",
    "preprocessor_config.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
)


def read_library_files(directory: Path) -> dict[str, dict[str, Any]]:
    """Contents by name, of those that are there.

    Raises:
        ValueError: one is damaged; names it.
    """
    return {name: read_json(directory / name) for name in LIBRARY_FILES if (directory / name).is_file()}


def save_library_files(files: Mapping[str, Mapping[str, Any]], directory: Path) -> None:
    """Write them all."""
    for name in LIBRARY_FILES:
        write_json(directory / name, files[name])


def new_library_files(config: SpatialVLAConfig, tokenizer: Tokenizer) -> dict[str, dict[str, Any]]:
    """Contents by name: configurations of generation, image processor and tokenizer, and the special tokens."""
    ids = {
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "pad_token_id": config.pad_token_id,
    }
    size = {"height": config.image_size, "width": config.image_size}
    images = {
        "image_processor_type": "SiglipImageProcessor",
        "processor_class": "SpatialVLAProcessor",
        "do_resize": True,
        "size": size,
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": False,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "do_convert_rgb": None,
        "image_seq_length": config.image_tokens,
    }
    special = {name.removesuffix("_id"): tokenizer.id_to_token(number) for name, number in ids.items()}
    text = {
        "tokenizer_class": "GemmaTokenizer",
        "processor_class": "SpatialVLAProcessor",
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "padding_side": "right",
        **special,
    }
    generation = {"cache_implementation": "hybrid", **ids}
    return dict(zip(LIBRARY_FILES, (generation, images, special, text), strict=True))
