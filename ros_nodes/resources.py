"""Where the package's data files are, in a source tree, after `pip install` and in a colcon install space."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

PACKAGE = "polyarm"


def config_file(name: str) -> Path:
    """Path of `config/<name>`: in the share folder where the ament index knows the package, else beside the code.

    Raises:
        FileNotFoundError: no such file; lists what there is.
    """
    beside_code = Path(str(resources.files("ros_nodes"))) / "config"
    share = _share_folder()
    for folder in (*([share / "config"] if share is not None else []), beside_code):
        if (folder / name).is_file():
            return folder / name
    there = sorted(path.name for path in beside_code.glob("*") if path.is_file())
    raise FileNotFoundError(f"config file '{name}' not found; there are: {', '.join(there) or 'none'}")


def _share_folder() -> Path | None:
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

    try:
        return Path(get_package_share_directory(PACKAGE))
    except (PackageNotFoundError, OSError):  # OSError: AMENT_PREFIX_PATH is not set
        return None
