"""How every encoder is kept: `encoder.json` with the system's name and its configuration, and `model.safetensors`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from representation.data.untrusted_files import read_json

CONFIG_FILE, WEIGHTS_FILE = "encoder.json", "model.safetensors"


def save_encoder(model: nn.Module, system: str, config: Any, directory: Path) -> None:
    """Write weights and configuration.

    Args:
        model: whose weights are kept.
        system: its name in the registry.
        config: a dataclass or mapping that JSON can hold.
        directory: made if it is not there.
    """
    save_config(system, config, directory)
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(state, directory / WEIGHTS_FILE)


def save_config(system: str, config: Any, directory: Path) -> None:
    """Write the configuration alone, which is all of an encoder without weights; arguments as of `save_encoder`."""
    directory.mkdir(parents=True, exist_ok=True)
    content = asdict(config) if is_dataclass(config) and not isinstance(config, type) else dict(config)
    text = json.dumps({"system": system, "config": content}, indent=2)
    (directory / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def read_config(directory: Path) -> dict[str, Any]:
    """`system` and `config` of an encoder.

    Raises:
        FileNotFoundError: no encoder there.
        ValueError: damaged.
    """
    if not (directory / CONFIG_FILE).is_file():
        raise FileNotFoundError(f"{directory}: expected an encoder, found no {CONFIG_FILE}")
    content = read_json(directory, CONFIG_FILE)
    if not isinstance(content, Mapping) or not isinstance(content.get("config"), Mapping) or "system" not in content:
        raise ValueError(f"{directory / CONFIG_FILE}: expected system and config, found {content!r:.200}")
    return dict(content)


def load_weights(model: nn.Module, directory: Path) -> None:
    """Read the weights of a model.

    Raises:
        ValueError: they are not those of this model; names the file.
    """
    path = directory / WEIGHTS_FILE
    try:
        model.load_state_dict(load_file(path))
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path}: expected the weights of this encoder, found others: {error}") from error


def encoder_key(directory: Path) -> str:
    """System and version of a saved encoder; the version is a digest of all its files.

    Args:
        directory: the encoder's, or a run's that has one in `encoder/`.

    Raises:
        FileNotFoundError: there is none.
    """
    inner = directory / "encoder"
    directory = inner if inner.is_dir() else directory
    system = str(read_config(directory)["system"])
    digest = hashlib.sha256()
    for path in sorted(file for file in directory.rglob("*") if file.is_file()):
        digest.update(path.relative_to(directory).as_posix().encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{system}_{digest.hexdigest()[:8]}"
