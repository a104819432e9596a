"""A processor on disk: `processor_config.json` in the released layout, with our additions, and what lies beside."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from policies.execution.kinematics import Kinematics
from policies.json_file import read_json, write_json
from policies.robots import get_named_robot
from policies.spatialvla.action_grid import ROTATION_AXES, TRANSLATION_AXES, ActionGrid
from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.library_files import new_library_files, read_library_files, save_library_files
from policies.spatialvla.processor import ProcessorSettings, SpatialVLAProcessor

PROCESSOR_FILE = "processor_config.json"
TOKENIZER_FILE = "tokenizer.json"


def save_processor(processor: SpatialVLAProcessor, directory: Path) -> None:
    """Write `processor_config.json`, `tokenizer.json`, and the files that only other libraries read."""
    grid, settings = processor.grid, processor.settings
    bins = {group: {f"{a}_bins": grid.edges[a].tolist() for a in axes} for group, axes in _GROUPS}
    num_bins = {group: {f"{a}_bins": grid.num_bins[a] for a in axes} for group, axes in _GROUPS}
    content = {
        **_UNUSED,
        **processor.carried.get(PROCESSOR_FILE, {}),
        "processor_class": "SpatialVLAProcessor",
        "action_chunk_size": settings.chunk,
        "action_config": {
            "distribution": grid.distribution,
            "num_bins": {**num_bins, "gripper": grid.gripper_bins, "total": sum(grid.slot_sizes)},
            "use_spherical": grid.spherical,
        },
        "bin_policy": bins,
        "intrinsic_config": processor.intrinsic_config,
        "statistics": processor.statistics,
        "polyarm": {**asdict(settings), "centroids": {a: c.tolist() for a, c in grid.centroids.items()}},
    }
    if processor.config.is_released_kind:
        content["auto_map"] = {"AutoProcessor": "processing_spatialvla.SpatialVLAProcessor"}
    write_json(directory / PROCESSOR_FILE, content)
    processor.tokenizer.save(str(directory / TOKENIZER_FILE))
    save_library_files({**new_library_files(processor.config, processor.tokenizer), **processor.carried}, directory)


def read_processor(directory: Path) -> SpatialVLAProcessor:
    """Read a policy's processor and none of its weights; raises as `load_processor`."""
    return load_processor(directory, SpatialVLAConfig.read(directory))


def load_processor(
    directory: Path, config: SpatialVLAConfig, settings: ProcessorSettings | None = None
) -> SpatialVLAProcessor:
    """Read a processor; `settings` take the place of those in the file.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged or does not fit `config`; names file and field.
    """
    path = directory / PROCESSOR_FILE
    content = read_json(path)
    settings = settings or _settings(content, path)
    for name in ("bin_policy", "statistics", "action_config"):
        if not isinstance(content.get(name), dict):
            raise ValueError(f"{path}: {name}: expected an object, found {type(content.get(name)).__name__}")
    try:
        edges = {a: content["bin_policy"][group][f"{a}_bins"] for group, axes in _GROUPS for a in axes}
        centroids = content.get("polyarm", {}).get("centroids", {})
        grid = ActionGrid(edges, centroids, bool(content["action_config"]["use_spherical"]))
    except KeyError as error:
        raise ValueError(f"{path}: bin_policy or action_config: {error} is missing") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    tokenizer_path = directory / TOKENIZER_FILE
    if not tokenizer_path.is_file():
        raise FileNotFoundError(f"{tokenizer_path}: expected the policy's tokenizer, found no such file")
    try:
        tokenizer = Tokenizer.from_file(str(tokenizer_path))
    except Exception as error:  # the library raises plain Exception for a damaged file
        raise ValueError(f"{tokenizer_path}: not a readable tokenizer: {error}") from error
    if tokenizer.get_vocab_size() > config.vocabulary_size:
        raise ValueError(
            f"{tokenizer_path}: expected at most {config.vocabulary_size} tokens, found {tokenizer.get_vocab_size()}"
        )
    robot = get_named_robot(settings.robot)
    try:
        return SpatialVLAProcessor(
            config,
            settings,
            tokenizer,
            grid,
            content["statistics"],
            robot,
            Kinematics(robot).forward,
            content.get("intrinsic_config", {}),
            {**read_library_files(directory), PROCESSOR_FILE: {k: v for k, v in content.items() if k not in _OWN}},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


# Fields of the released file that nothing here reads, as they were released.
_UNUSED = {"min_sigma": 0.0, "num_obs_steps": 1, "obs_delta": 1}
# Fields that are written from the processor; all others are carried over.
_OWN = {"processor_class", "action_chunk_size", "action_config", "bin_policy", "intrinsic_config", "statistics"} | {
    "auto_map",
    "polyarm",
}
_GROUPS = (("translation", TRANSLATION_AXES), ("rotation", ROTATION_AXES))


def _settings(content: dict[str, Any], path: Path) -> ProcessorSettings:
    if not isinstance(content.get("polyarm"), dict):
        raise ValueError(
            f"{path}: group polyarm: expected robot, camera and rate of the policy, found none; write them with "
            "python -m policies.spatialvla.adopt"
        )
    ours = {name: value for name, value in content["polyarm"].items() if name != "centroids"}
    known = {field.name for field in fields(ProcessorSettings)}
    if set(ours) - known:
        raise ValueError(
            f"{path}: group polyarm: expected fields of {sorted(known)}, found {sorted(set(ours) - known)}"
        )
    try:
        return ProcessorSettings(**{"chunk": int(content.get("action_chunk_size", 4)), **ours})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: group polyarm: {error}") from error
