from __future__ import annotations

import json

import numpy as np
import pytest

from policies.execution.separation import Futures
from ros_nodes.forecast_messages import futures_from_message, message_from_futures

FUTURES = Futures(12.5, 0.4, ("arm/0", "person/1"), np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2))


def test_futures_survive_the_trip():
    found = futures_from_message(message_from_futures(FUTURES, "base"), "base")
    assert (found.stamp, found.period_s, found.agents) == (12.5, 0.4, ("arm/0", "person/1"))
    np.testing.assert_array_equal(found.samples, FUTURES.samples)


def relabelled(message, **change):
    described = json.loads(message.layout.dim[0].label) | change
    message.layout.dim[0].label = json.dumps(described)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda message: message.layout.dim.clear(), "found IndexError"),
        (lambda message: setattr(message.layout.dim[0], "label", "steps"), "found JSONDecodeError"),
        (lambda message: setattr(message.layout.dim[0], "label", "[]"), "found TypeError"),
        (lambda message: setattr(message.layout.dim[1], "size", 4), "found ValueError"),
        (lambda message: relabelled(message, agents=["one"]), r"samples \(K, T, 1, 2\), found \(2, 3, 2, 2\)"),
        (lambda message: relabelled(message, frame="moon"), "expected frame 'base', found 'moon'"),
        (lambda message: relabelled(message, period_s=0.0), "a positive period"),
        (lambda message: relabelled(message, stamp=float("nan")), "finite numbers"),
        (lambda message: message.data.__setitem__(3, float("inf")), "finite numbers"),
    ],
)
def test_what_is_no_forecast_is_refused(spoil, words):
    message = message_from_futures(FUTURES, "base")
    spoil(message)
    with pytest.raises(ValueError, match=words):
        futures_from_message(message, "base")
