"""The guide to a real arm tells what refusals mean: those that the code makes, word for word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "real_arm.md").read_text(encoding="utf-8")


def fragments() -> list[str]:
    """What the tables quote, without the names and numbers that `...` stands for."""
    section = GUIDE.split("## What a refusal means\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `") and " says " not in line]
    quoted = [text for cell in cells for text in re.findall(r"`([^`]+)`", cell)]
    return [part.strip(" ,") for text in quoted for part in text.split("...") if part.strip(" ,")]


@pytest.fixture(scope="module")
def source() -> str:
    """The code of nodes and policies, with texts that go on in the next line joined."""
    files = [file for folder in ("ros_nodes", "policies") for file in (ROOT / folder).rglob("*.py")]
    return re.sub(r'"\s*\n\s*f?"', "", "\n".join(file.read_text(encoding="utf-8") for file in files))


def test_the_guide_quotes_refusals():
    assert len(fragments()) > 50


@pytest.mark.parametrize("fragment", fragments())
def test_a_refusal_of_the_guide_is_one_of_the_code(fragment, source):
    assert fragment in source
