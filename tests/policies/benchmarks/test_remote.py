from __future__ import annotations

import pytest

from policies.benchmarks.remote import HERE, METHODS, RemoteSettings, format_markdown, format_text, run


@pytest.fixture(scope="module")
def result():
    return run(RemoteSettings(height=48, width=64, repetitions=2, seeds=1))


def test_what_is_not_lossy_gives_the_same_actions(result):
    (found,) = result["results"]
    assert set(found) == set(METHODS)
    assert [found[method]["largest_difference"] for method in (HERE, "raw", "png")] == [0.0, 0.0, 0.0]
    assert found["raw"]["request_bytes"] > 48 * 64 * 7  # a byte for each colour and four for depth
    assert 0 < found["jpeg"]["request_bytes"] < found["png"]["request_bytes"] < found["raw"]["request_bytes"]
    assert all(0 < row["ms_p50"] <= row["ms_p95"] for row in found.values())


def test_the_tables_name_every_method(result):
    for text in (format_text(result), format_markdown(result)):
        assert all(method in text for method in METHODS)
