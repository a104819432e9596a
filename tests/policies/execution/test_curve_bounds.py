import numpy as np
import pytest

from policies.execution.curve_bounds import curve_bounds


@pytest.mark.parametrize("order", range(4))
def test_derivatives_stay_within_their_bounds_which_are_hardly_wider(order):
    rng = np.random.default_rng(0)
    coefficients, durations = rng.normal(size=(2, 3, 6, 4)), rng.uniform(0.2, 1.5, size=(2, 3))
    bounds = curve_bounds(coefficients, durations, order)
    assert bounds.shape[1:] == (2, 3, 4)
    for place in np.ndindex(2, 3, 4):
        *segment, joint = place
        curve = np.polynomial.Polynomial(coefficients[(*segment, slice(None), joint)]).deriv(order)
        values = curve(np.linspace(0.0, durations[tuple(segment)], 2001))
        low, high = bounds[:, *place].min(), bounds[:, *place].max()
        assert low <= values.min() + 1e-9
        assert values.max() - 1e-9 <= high
        assert high - low <= 1.1 * np.ptp(values) + 1e-9
