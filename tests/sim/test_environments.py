from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sim.environments import environment_python


def test_an_environment_is_made_once_and_again_for_other_requirements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed: list[list[str]] = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        installed.append(command[command.index("--no-compile") + 1 :])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("sim.environments.subprocess.run", pip)
    python = environment_python(tmp_path / "environment", ["first==1"])
    assert environment_python(tmp_path / "environment", ["first==1"]) == python
    assert installed == [["first==1"]]
    environment_python(tmp_path / "environment", ["first==2", "second<4"])
    assert installed == [["first==1"], ["first==2", "second<4"]]


def test_what_pip_cannot_install_is_named_and_not_taken_for_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"(?s)expected pip to install robosuite==1\.5\.2.*network.*No matching"):
            environment_python(tmp_path / "environment", ["robosuite==1.5.2"])
