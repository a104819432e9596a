from __future__ import annotations

from dataclasses import replace

import pytest

from policies.benchmarks.condition_cache import METHODS, CacheSettings, claims, format_markdown, format_text, run
from policies.rdt.config import RDTConfig

SMALL = replace(RDTConfig.tiny(), pred_horizon=64, image_grid=(2, 3, 384), max_lang_cond_len=32)


@pytest.fixture(scope="module")
def result():
    return run(CacheSettings(repetitions=1, seeds=1), {"small": SMALL})


def test_chunks_are_the_same_and_cost_less(result):
    for row in result["results"]["small"]:
        assert row["difference"] <= 1e-6
        every_step, once, one_camera = (row["operations"][method] for method in METHODS)
        assert every_step > 1.5 * once
        assert once > 1.3 * one_camera


def test_the_tables_name_every_method(result):
    for text in (format_text(result), format_markdown(result)):
        assert all(method in text for method in METHODS)


def test_what_is_asked_must_hold_for_every_seed():
    def row(every_step, once, one_camera, difference=0.0):
        seconds = dict(zip(METHODS, (every_step, once, one_camera), strict=True))
        return {"seconds": seconds, "difference": difference}

    name = "D 512, N 8, 1176 image tokens"
    good = row(1.5, 1.0, 0.76)
    assert list(claims({name: [good, good]}).values()) == [True] * 3
    for place, worse in enumerate((row(1.4, 1.0, 0.76), row(1.5, 1.0, 0.78), row(1.5, 1.0, 0.76, 1e-5))):
        holds = list(claims({name: [good, worse]}).values())
        assert [number for number, held in enumerate(holds) if not held] == [place]
