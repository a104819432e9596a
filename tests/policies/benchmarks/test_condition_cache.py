from __future__ import annotations

from dataclasses import replace

import pytest

from policies.benchmarks.condition_cache import METHODS, CacheSettings, format_markdown, format_text, run
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
