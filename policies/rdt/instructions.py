"""`InstructionVariants`: the texts of a task, of which training draws one.

The file `expanded_instruction_gpt-4-turbo.json` lies beside the episodes of RDT-1B's fine-tuning data (arXiv
2410.07864): a task in the words of the person who recorded it, simplified, and in many longer versions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from representation.data.untrusted_files import read_json

INSTRUCTIONS_FILE = "expanded_instruction_gpt-4-turbo.json"


@dataclass(frozen=True)
class InstructionVariants:
    """Texts that ask for the same.

    Attributes:
        original: one text.
        simplified: at least one.
        expanded: at least one.
    """

    original: str
    simplified: tuple[str, ...]
    expanded: tuple[str, ...]

    @classmethod
    def read(cls, directory: str | Path) -> InstructionVariants:
        """Read the file of a directory of episodes; single texts may stand where lists are expected.

        Raises:
            ValueError: the file is missing, too large or damaged, or a key is; names it.
        """
        root = Path(directory)
        content = read_json(root, INSTRUCTIONS_FILE)
        texts = {}
        for key in ("instruction", "simplified_instruction", "expanded_instruction"):
            value = content.get(key)
            listed = [value] if isinstance(value, str) else value
            if not isinstance(listed, list) or not listed or not all(isinstance(text, str) for text in listed):
                raise ValueError(
                    f"{root / INSTRUCTIONS_FILE}: {key}: expected a text or a list of texts, found {value!r}"
                )
            texts[key] = tuple(listed)
        if len(texts["instruction"]) != 1:
            raise ValueError(
                f"{root / INSTRUCTIONS_FILE}: instruction: expected one text, found {len(texts['instruction'])}"
            )
        return cls(texts["instruction"][0], texts["simplified_instruction"], texts["expanded_instruction"])

    def write(self, directory: str | Path) -> None:
        """Write the file beside the episodes of a directory."""
        content = {
            "instruction": self.original,
            "simplified_instruction": list(self.simplified),
            "expanded_instruction": list(self.expanded),
        }
        (Path(directory) / INSTRUCTIONS_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts, each once: what to encode beforehand."""
        return tuple(dict.fromkeys((self.original, *self.simplified, *self.expanded)))

    def choose(self, generator: np.random.Generator) -> str:
        """The original, a simplified or an expanded text, each kind with probability 1/3."""
        kind = ((self.original,), self.simplified, self.expanded)[generator.integers(3)]
        return kind[generator.integers(len(kind))]
