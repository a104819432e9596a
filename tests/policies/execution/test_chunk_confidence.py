from __future__ import annotations

import numpy as np
import pytest

from policies.execution.chunk_confidence import confidence_figures
from policies.interface import ActionChunk

PROBABILITIES = np.array([[0.5, 0.8, 1.0], [0.25, 0.4, 0.6]])


def chunk(**measures):
    return ActionChunk(0.0, 0.1, "cartesian_delta", np.zeros((2, 7)), **measures)


def test_figures_tell_rows_and_each_kind_of_token():
    found = confidence_figures(chunk(confidence=PROBABILITIES.prod(axis=1), token_log_probs=np.log(PROBABILITIES)))
    assert found == pytest.approx(
        {
            "confidence_min": 0.06,
            "confidence_mean": 0.23,
            "translation_confidence_min": 0.25,
            "translation_confidence_mean": 0.375,
            "rotation_confidence_min": 0.4,
            "rotation_confidence_mean": 0.6,
            "gripper_confidence_min": 0.6,
            "gripper_confidence_mean": 0.8,
        }
    )


def test_a_policy_tells_what_it_has():
    assert confidence_figures(chunk()) == {}
    assert set(confidence_figures(chunk(confidence=np.ones(2)))) == {"confidence_min", "confidence_mean"}


@pytest.mark.parametrize("shape", [(2,), (2, 2), (3, 3)])
def test_log_probabilities_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"token_log_probs: expected shape \(2, 3\)"):
        chunk(token_log_probs=np.zeros(shape))
