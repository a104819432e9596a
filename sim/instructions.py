"""How the tasks are put into words: paraphrases per task, some of which no policy is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter

import numpy as np


@dataclass(frozen=True, slots=True)
class Paraphrases:
    """Sentences that ask for the same thing, with the roles of the task's words in braces.

    Attributes:
        train: sentences for demonstrations and nominal evaluation.
        held_out: sentences for evaluation only: (nearly) all their words occur in training, the sentences do not.
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...]

    @property
    def roles(self) -> frozenset[str]:
        """Names that every sentence needs filled in."""
        return frozenset(role for _, role, _, _ in Formatter().parse(self.train[0]) if role)


PARAPHRASES: dict[str, Paraphrases] = {
    "reach": Paraphrases(
        train=(
            "reach the {object}",
            "move to the {object}",
            "go to the {object}",
            "move the gripper to the {object}",
            "touch the {object}",
            "put your hand on the {object}",
        ),
        held_out=(
            "go and touch the {object}",
            "move the gripper and touch the {object}",
        ),
    ),
    "push": Paraphrases(
        train=(
            "push the {object} to the {zone} zone",
            "push the {object} into the {zone} circle",
            "slide the {object} to the {zone} zone",
            "move the {object} into the {zone} zone by pushing it",
            "slide the {object} over the table into the {zone} circle",
            "push the {object} onto the {zone} area",
        ),
        held_out=(
            "slide the {object} onto the {zone} area",
            "push the {object} over to the {zone} circle",
        ),
    ),
    "pick": Paraphrases(
        train=(
            "pick up the {object}",
            "pick the {object} up from the table",
            "lift the {object}",
            "grasp the {object} and lift it",
            "take the {object}",
            "grab the {object} and hold it up",
        ),
        held_out=(
            "lift the {object} up from the table",
            "grab the {object} and pick it up",
        ),
    ),
    "place": Paraphrases(
        train=(
            "place the {object} into the bin",
            "put the {object} in the bin",
            "pick up the {object} and drop it in the bin",
            "move the {object} into the bin",
            "take the {object} and place it in the box",
            "drop the {object} into the box",
        ),
        held_out=(
            "take the {object} and put it into the bin",
            "grab the {object} and drop it into the box",
        ),
    ),
    "stack": Paraphrases(
        train=(
            "stack the {object} on the {base}",
            "put the {object} on top of the {base}",
            "place the {object} on the {base}",
            "pick up the {object} and stack it on the {base}",
            "set the {object} on top of the {base}",
            "take the {object} and put it on the {base}",
        ),
        held_out=(
            "stack the {object} on top of the {base}",
            "lift the {object} and place it on top of the {base}",
        ),
    ),
    "drawer": Paraphrases(
        train=(
            "open the {drawer} drawer",
            "pull the {drawer} drawer open",
            "pull the handle of the {drawer} drawer",
            "open up the {drawer} drawer",
            "grab the {drawer} handle and open the drawer",
            "slide the {drawer} drawer open",
        ),
        held_out=(
            "open the drawer with the {drawer} handle",
            "pull open the {drawer} drawer",
        ),
    ),
    "transfer_cube": Paraphrases(
        train=(
            "hand the {object} over to the left gripper",
            "pick up the {object} and give it to the left hand",
            "pass the {object} from the right hand to the left hand",
            "take the {object} with the right gripper and hand it to the left one",
            "transfer the {object} to the left gripper",
            "give the {object} to the left hand",
        ),
        held_out=(
            "pass the {object} over to the left gripper",
            "pick up the {object} with the right hand and hand it to the left one",
        ),
    ),
    "sort": Paraphrases(
        train=(
            "put the {object} into the {bin} bin",
            "place the {object} in the bin on the {bin}",
            "sort the {object} into the {bin} bin",
            "pick up the {object} and drop it in the {bin} bin",
            "move the {object} into the {bin} box",
            "drop the {object} into the box on the {bin}",
        ),
        held_out=(
            "take the {object} and put it into the {bin} box",
            "pick up the {object} and place it in the bin on the {bin}",
        ),
    ),
    "lift_tray": Paraphrases(
        train=(
            "lift the {tray} tray with both hands",
            "lift the {tray} tray",
            "pick up the {tray} tray with both grippers",
            "take the {tray} tray by its handles and lift it",
            "grab both handles and lift the {tray} tray",
            "lift the {tray} tray and hold it level",
        ),
        held_out=(
            "take the {tray} tray with both hands and hold it level",
            "grab the {tray} tray by its handles and pick it up",
        ),
    ),
    "insertion": Paraphrases(
        train=(
            "insert the {peg} peg into the {socket} socket",
            "put the {peg} peg into the {socket} socket",
            "push the {peg} peg into the {socket} socket",
            "pick up the {peg} peg and the {socket} socket and put them together",
            "take the {peg} peg and insert it into the {socket} socket",
            "slide the {peg} peg into the {socket} socket",
        ),
        held_out=(
            "take the {peg} peg and push it into the {socket} socket",
            "pick up the {peg} peg and slide it into the {socket} socket",
        ),
    ),
}
"""Sentences by task name. Roles: `object` and `base` as "red cube"; `bin` as "left"; the others as "red"."""


def instruct(task: str, rng: np.random.Generator, held_out: bool = False, **names: str) -> str:
    """Draw a paraphrase of a task's instruction and fill in what it names.

    Args:
        task: key of `PARAPHRASES`.
        rng: draws the paraphrase.
        held_out: draw from the sentences that no policy is trained on.
        **names: a value for each role of the task, for example `object="red cube"`.

    Returns:
        A lower-case sentence without a full stop.

    Raises:
        ValueError: unknown task, or roles missing or in excess.
    """
    if task not in PARAPHRASES:
        raise ValueError(f"task: expected one of {', '.join(PARAPHRASES)}, found {task!r}")
    paraphrases = PARAPHRASES[task]
    if paraphrases.roles != names.keys():
        raise ValueError(f"names: expected {sorted(paraphrases.roles)} for task {task!r}, found {sorted(names)}")
    sentences = paraphrases.held_out if held_out else paraphrases.train
    return sentences[rng.integers(len(sentences))].format(**names)
