"""`python -m sim.gym_aloha.environment`: install gym-aloha beside us, and `find_python`: the Python that has it.

gym-aloha 0.1.5 asks for a MuJoCo below 3.9, and the dm_control that it stands on does not run with MuJoCo 4. Where ours
is new, gym-aloha therefore gets an environment of its own, once.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from sim.environments import environment_python, existing_python

REQUIREMENTS = ("gym-aloha==0.1.5",)
DIRECTORY = Path(".bench/gym_aloha")


def find_python(directory: Path = DIRECTORY) -> Path:
    """The Python that gym-aloha runs with: ours if the extra `gym-aloha` is installed, or that of its environment.

    Raises:
        ModuleNotFoundError: gym-aloha is in neither; says how to install it.
    """
    if importlib.util.find_spec("gym_aloha") is not None:
        return Path(sys.executable)
    python = existing_python(directory, REQUIREMENTS)
    if python is None:
        raise ModuleNotFoundError(
            f"gym-aloha: expected it to be installed here (pip install 'polyarm[gym-aloha]', which takes MuJoCo below "
            f"3.9) or in {directory} (python -m sim.gym_aloha.environment)"
        )
    return python


def main() -> int:
    """Install gym-aloha in an environment of its own; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sim.gym_aloha.environment", description=main.__doc__)
    parser.parse_args()
    try:
        print(environment_python(DIRECTORY, REQUIREMENTS))
    except (OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
