"""`RDTSettings`: what a network's own files do not tell, kept beside them in `policy.json`."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from policies.json_file import read_json, write_json
from policies.rdt.config import NormStat
from policies.rdt.embodiment import Embodiment

POLICY_FILE = "policy.json"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RDTSettings:
    """Robot, embodiment and computation of a policy.

    Attributes:
        robot: name of the `RobotSpec`.
        embodiment: the robot's numbers in the unified space, its cameras and rate.
        norm_stat: see `RDTConfig`.
        sampler_steps: steps of the sampler.
        objective: what the network was trained for: to sample chunks, or to predict the mean one.
        max_delay: most rows at the start of a chunk that the network was trained to be given clean, 0 for none; None
            where nobody knows. See `RDTConfig.clean_prefix`.
        query_steps: control steps from one observation that it is to be asked to answer to the next.
    """

    robot: str
    embodiment: Embodiment
    norm_stat: NormStat = "var"
    sampler_steps: int = 5
    objective: Literal["diffusion", "regression"] = "diffusion"
    max_delay: int | None = None
    query_steps: int = 1

    def __post_init__(self) -> None:
        delay = self.max_delay
        if delay is not None and (not isinstance(delay, int) or delay < 0):
            raise ValueError(f"max_delay: expected a number of rows, found {delay!r}")
        if not isinstance(self.query_steps, int) or self.query_steps < 1:
            raise ValueError(f"query_steps: expected a number of control steps, at least 1, found {self.query_steps!r}")


def read_settings(directory: Path) -> RDTSettings:
    """Read `policy.json`.

    Raises:
        FileNotFoundError: there is none, as in released checkpoints.
        ValueError: an unknown or missing field; names file and field.
    """
    path = directory / POLICY_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected robot and embodiment of the policy, found no such file; see docs/rdt.md"
        )
    content = read_json(path)
    if "norm_stat" not in content:
        _LOG.warning("%s: norm_stat: not given, taken as 'var', as the published installation computes it", path)
    try:
        embodiment = Embodiment.from_dict(content.pop("embodiment"))
        return RDTSettings(embodiment=embodiment, **content)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected the fields of a policy's settings: {error}") from error


def write_settings(settings: RDTSettings, directory: Path) -> None:
    """Write `policy.json`."""
    write_json(directory / POLICY_FILE, asdict(settings))
