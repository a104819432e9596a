"""The files of the released layout that we do not read: other libraries expect them beside the weights."""

from __future__ import annotations

from pathlib import Path

from policies.json_file import write_json
from policies.spatialvla.processor import SpatialVLAProcessor


def save_library_files(processor: SpatialVLAProcessor, directory: Path) -> None:
    """Write the configurations of generation, image processor and tokenizer, and the special tokens."""
    config, tokenizer = processor.config, processor.tokenizer
    ids = {
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "pad_token_id": config.pad_token_id,
    }
    write_json(directory / "generation_config.json", {"cache_implementation": "hybrid", **ids})
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
    write_json(directory / "preprocessor_config.json", images)
    special = {name.removesuffix("_id"): tokenizer.id_to_token(number) for name, number in ids.items()}
    write_json(directory / "special_tokens_map.json", special)
    text = {
        "tokenizer_class": "GemmaTokenizer",
        "processor_class": "SpatialVLAProcessor",
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "padding_side": "right",
        **special,
    }
    write_json(directory / "tokenizer_config.json", text)
