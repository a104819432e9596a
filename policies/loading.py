"""Finds a policy by name, directory, hub id or server, and loads it with the class that its `config.json` names."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from pathlib import Path
from typing import Any

from policies.interface import Policy
from policies.remote.address import is_address

CHECKPOINTS = Path(__file__).parent / "checkpoints"
# Policies without weights, loaded by name.
BASELINES = {
    "noop": "policies.baselines:NoopPolicy",
    "random": "policies.baselines:RandomPolicy",
    "mean_action": "policies.baselines:MeanActionPolicy",
}
# model_type in config.json -> class with `from_pretrained(directory, device)`.
POLICY_CLASSES = {
    "spatialvla": "policies.spatialvla.policy:SpatialVLAPolicy",
    "rdt": "policies.rdt.policy:RDTPolicy",
    "recorded_motion": "policies.recorded_motion:RecordedMotion",
}
COMPILED = ("spatialvla", "rdt")
"""Those whose `from_pretrained` takes `compile` too."""
# Short names of shipped policies.
SHORT_NAMES = {"rdt": "rdt_small", "spatialvla": "spatialvla_small"}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Configurations and statistics, weights, DeepSpeed's weights and embeddings of instructions, a sentencepiece tokenizer.
_HASHED = {".json", ".safetensors", ".bin", ".pt", ".model"}
_HUB_FILES = sorted(f"*{suffix}" for suffix in _HASHED)


def shipped_policies() -> list[str]:
    """Names of the policies that come with the package."""
    return sorted([*BASELINES, *(path.parent.name for path in CHECKPOINTS.glob("*/config.json"))])


def find_policy(path_or_hub_id: str) -> Path:
    """Directory of a policy: a path, a shipped name, its short name, or a hub id (downloaded).

    Raises:
        FileNotFoundError: nothing of that name; lists what is shipped.
    """
    shipped = SHORT_NAMES.get(path_or_hub_id, path_or_hub_id)
    for directory in (Path(path_or_hub_id).expanduser(), CHECKPOINTS / shipped):
        if directory.is_dir():
            return directory
    reason = "not a directory, a shipped policy or a hub id"
    if _HUB_ID.fullmatch(path_or_hub_id):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            return Path(snapshot_download(path_or_hub_id, allow_patterns=_HUB_FILES))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            reason = f"no such directory, and the hub does not give it: {error}"
    raise FileNotFoundError(f"policy {path_or_hub_id!r}: {reason}; shipped: {shipped_policies()}")


def policy_sha256(path_or_hub_id: str) -> str | None:
    """SHA-256 over the names and contents of a policy's files, as hexadecimal; None for a policy without weights.

    Raises:
        FileNotFoundError: nothing of that name; lists what is shipped.
        OSError: a server that cannot be reached.
    """
    if path_or_hub_id in BASELINES:
        return None
    if is_address(path_or_hub_id):
        from policies.remote.client import served_sha256

        return served_sha256(path_or_hub_id)
    digest = hashlib.sha256()
    directory = find_policy(path_or_hub_id)
    for path in sorted(path for path in directory.rglob("*") if path.suffix in _HASHED):
        digest.update(path.relative_to(directory).as_posix().encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def load(path_or_hub_id: str, device: str = "cpu", robot: str = "panda", compile: bool = False) -> Policy:
    """Load a policy; see `policies.interface.load_policy`.

    Raises:
        FileNotFoundError: nothing of that name, or a file of it is missing.
        OSError: a server that cannot be reached.
        ValueError: not a policy that this version can load; names the file and field.
    """
    without_weights = path_or_hub_id in BASELINES or is_address(path_or_hub_id)
    if compile and (without_weights or model_type(find_policy(path_or_hub_id)) not in COMPILED):
        raise ValueError(f"compile: expected a policy with a network that is loaded here, found {path_or_hub_id!r}")
    if path_or_hub_id in BASELINES:
        return _imported(BASELINES[path_or_hub_id])(robot)
    if is_address(path_or_hub_id):
        from policies.remote.client import connect_policy

        return connect_policy(path_or_hub_id)
    directory = find_policy(path_or_hub_id)
    options = {"compile": True} if compile else {}
    return _imported(POLICY_CLASSES[model_type(directory)]).from_pretrained(directory, device, **options)


def told_query_steps(path_or_hub_id: str) -> int:
    """Control steps between two queries that a policy's `policy.json` tells, see `policies.interface.query_steps`.

    Raises:
        FileNotFoundError: see `find_policy`.
    """
    if path_or_hub_id in BASELINES or is_address(path_or_hub_id):
        return 1
    path = find_policy(path_or_hub_id) / "policy.json"
    return int(json.loads(path.read_text(encoding="utf-8")).get("query_steps", 1)) if path.is_file() else 1


def model_type(directory: Path) -> str:
    """Kind of a policy, one of `POLICY_CLASSES`.

    Raises:
        FileNotFoundError: no config.json.
        ValueError: damaged, or of no known kind; names the file.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a policy's config.json, found no such file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        # The released configurations of RDT name no kind.
        found = content.get("model_type", "rdt" if "rdt" in content else None)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: expected a JSON object: {error}") from error
    if found not in POLICY_CLASSES:
        raise ValueError(f"{path}: model_type: expected one of {sorted(POLICY_CLASSES)}, found {found!r}")
    return found


def _imported(path: str) -> Any:
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)
