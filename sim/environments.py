"""Virtual environments for software that cannot live beside ours, created once and kept."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

_MARKER = "requirements.txt"


def environment_python(directory: Path, requirements: Sequence[str]) -> Path:
    """Return the Python of an environment that holds `requirements`; create it if there is none yet.

    Args:
        directory: where the environment lives; one that was made for other requirements is replaced.
        requirements: what pip shall install, for example `robosuite==1.5.2`.

    Returns:
        Path of its Python executable.

    Raises:
        RuntimeError: pip could not install the requirements; says which and why.
    """
    found = existing_python(directory, requirements)
    if found is not None:
        return found
    python = directory.absolute() / "bin" / "python"
    venv.create(directory, clear=True, symlinks=True, with_pip=False)
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile"]
    pip = subprocess.run([*command, *requirements], capture_output=True, text=True, check=False)
    if pip.returncode != 0:
        reason = "\n".join(pip.stderr.strip().splitlines()[-5:])
        raise RuntimeError(
            f"environment {directory}: expected pip to install {', '.join(requirements)} (it needs the network the "
            f"first time), found exit status {pip.returncode}:\n{reason}"
        )
    # Written last, so an interrupted installation is begun again.
    (directory / _MARKER).write_text(_listed(requirements))
    return python


def existing_python(directory: Path, requirements: Sequence[str]) -> Path | None:
    """The Python of an environment that was created for just these requirements; None if there is none."""
    python, marker = directory.absolute() / "bin" / "python", directory / _MARKER
    complete = marker.is_file() and marker.read_text() == _listed(requirements)
    return python if complete and python.exists() else None


def _listed(requirements: Sequence[str]) -> str:
    return "".join(f"{requirement}\n" for requirement in requirements)
