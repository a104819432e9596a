import numpy as np
import pytest

from representation.selection.rank_agreement import rank_agreement


def test_agreement_of_ranks_is_told_by_hand_computed_numbers():
    truth = [0.9, 0.8, 0.7]
    assert rank_agreement([3, 2, 1], truth) == pytest.approx(
        {"kendall": 1, "weighted_kendall": 1, "pearson": 1, "top1_regret": 0}
    )
    swapped = rank_agreement([2, 3, 1], truth)
    assert swapped["kendall"] == pytest.approx(1 / 3)
    assert swapped["top1_regret"] == pytest.approx(0.1)
    # Weights 1, 1/2, 1/3 by rank: pairs weigh 3/2, 4/3 and 5/6, and the first one is the wrong one.
    assert swapped["weighted_kendall"] == pytest.approx((4 / 3 + 5 / 6 - 3 / 2) / (4 / 3 + 5 / 6 + 3 / 2))
    constant = rank_agreement([1, 1, 1], truth)
    assert np.isnan(constant["weighted_kendall"])
    assert constant["top1_regret"] == pytest.approx(0.1)
    with pytest.raises(ValueError, match="finite"):
        rank_agreement([1, np.nan, 2], truth)
    with pytest.raises(ValueError, match="at least 2"):
        rank_agreement([1], [1])
