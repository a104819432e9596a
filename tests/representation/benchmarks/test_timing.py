from __future__ import annotations

import time

import pytest

from representation.benchmarks.growth import main
from representation.benchmarks.timing import Growth, exponent, least_seconds


def test_exponents_are_slopes_of_logarithms():
    assert exponent((2, 4, 8), (3 * 2**2.5, 3 * 4**2.5, 3 * 8**2.5)) == pytest.approx(2.5)


def test_the_page_has_every_size_and_leaves_out_what_was_not_tried(tmp_path):
    seconds = {"ours": (1e-3, 4e-3, 1.6e-2), "theirs": (1e-3, 8e-3)}
    growth = Growth("Doing it", "python -m it", "n", (1, 2, 4), seconds, fitted_from=1)
    assert growth.exponents() == pytest.approx({"ours": 2.0, "theirs": 3.0})
    page = growth.table("it.png")
    assert "![milliseconds by n](it.png)" in page
    assert "| 2 | 4 | 8 |" in page
    assert "| 4 | 16 |  |" in page
    assert "| exponent | 2.00 | 3.00 |" in page
    growth.draw(tmp_path / "it.png")
    assert (tmp_path / "it.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_tells_the_time_of_one_where_there_are_so_many():
    growth = Growth("Doing it", "python -m it", "points", (2, 4), {"ours": (1e-3, 4e-3)}, fitted_from=2, each="point")
    page = growth.table("it.png")
    assert "| points | ours | ours, µs a point |" in page
    assert "| 4 | 4 | 1000 |" in page
    assert "| exponent | 2.00 |  |" in page


def test_calls_are_repeated_until_the_limit_and_waiting_is_not_counted():
    calls = []
    assert least_seconds(lambda: calls.append(time.sleep(0.01)), repeats=4) < 0.008
    assert len(calls) == 6
    calls.clear()
    least_seconds(lambda: calls.append(sum(range(10_000))), repeats=100, limit_s=0.0)
    assert len(calls) == 3


def test_unknown_names_are_refused():
    with pytest.raises(SystemExit, match=r"name: expected one of .*, ponita or all, found 'bach'"):
        main(["bach"])
