from __future__ import annotations

from policies.execution.latency_estimate import WINDOW, LatencyEstimate


def test_the_longest_of_the_last_counts_and_the_first_of_all_only_until_there_is_another():
    estimate = LatencyEstimate()
    assert estimate.seconds == 0.0
    estimate.add(9.0)
    assert estimate.seconds == 9.0
    estimate.add(0.2)
    estimate.add(0.1)
    assert estimate.seconds == 0.2
    for _ in range(WINDOW - 1):
        estimate.add(0.1)
    assert estimate.seconds == 0.1
