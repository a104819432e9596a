import numpy as np
import torch

from representation.benchmarks.digit_transfer import chosen
from representation.benchmarks.selection import POOL, TASKS, factors
from representation.data.frames import LABEL, Frames
from representation.registry import SYSTEMS


def test_the_pool_learns_from_factors_of_the_renders_and_tasks_are_among_them():
    places = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32)
    columns = {name: np.arange(4) for name in ("color", "shape", "scale", LABEL)} | {"position": places}
    known = factors(Frames(np.zeros((4, 2, 2, 3), np.uint8), np.arange(4), columns))
    assert known["place"].tolist() == [0, 1, 2, 3]
    assert set(TASKS) <= set(known)
    assert len(POOL) >= 10
    for course in POOL.values():
        assert course.system in SYSTEMS
        assert not course.source or course.source in known


def test_chosen_digits_are_numbered_in_their_order():
    x, y = torch.arange(6.0)[:, None], torch.tensor([7, 2, 5, 2, 9, 7])
    found, numbers = chosen((x, y), np.array([7, 2]))
    assert found.flatten().tolist() == [0, 1, 3, 5]
    assert numbers.tolist() == [1, 0, 0, 1]
