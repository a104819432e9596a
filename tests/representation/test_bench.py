from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest

from representation import bench
from representation.benchmarks.claims import BenchOptions, Claim
from representation.registry import SYSTEMS


def test_the_interval_is_that_of_students_t_over_paired_seeds():
    claim = Claim("right answers", "guessing", (0.9, 0.8, 0.85), (0.5, 0.6, 0.5), least=0.3)
    mean, low, high = claim.difference()
    differences = np.array([0.4, 0.2, 0.35])
    assert mean == pytest.approx(differences.mean())
    assert high - mean == pytest.approx(4.302653 * differences.std(ddof=1) / 3**0.5, rel=1e-5)
    assert mean - low == pytest.approx(high - mean)
    assert claim.holds()
    assert not Claim("right answers", "guessing", (0.9, 0.8), (0.5, 0.6), least=0.31).holds()
    told = Claim("seconds", "before", (0.9, 0.8), (0.5, 0.6), None)
    assert bench.row(asdict(told))[-1] == "told"


def test_a_claim_of_each_seed_does_not_hold_by_the_mean_alone():
    claim = Claim("right answers", "guessing", (0.9, 0.6), (0.5, 0.5), least=0.2, every=True)
    assert not claim.holds()
    assert bench.row(asdict(claim))[-1] == "NO, wants +0.2 with each seed"
    assert Claim("right answers", "guessing", (0.9, 0.6), (0.5, 0.5), least=0.2).holds()
    assert Claim("right answers", "guessing", (0.9, 0.7), (0.5, 0.5), least=0.2, every=True).holds()


def test_equal_differences_have_no_width():
    assert Claim("right", "chance", (0.5, 0.5), (0.25, 0.25)).difference() == (0.25, 0.25, 0.25)


def test_results_are_stored_and_the_page_has_all_of_them(tmp_path, monkeypatch, capsys):
    def run(options):
        return [Claim("right answers", "guessing", (0.9,) * options.seeds, (0.5,) * options.seeds, least=0.5)]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "BENCHMARKS", dict.fromkeys(("one", "two"), SimpleNamespace(run=run)))
    (tmp_path / "docs" / "benchmarks" / "pictures").mkdir(parents=True)
    (tmp_path / "docs" / "benchmarks" / "pictures" / "two.png").touch()
    for name in bench.BENCHMARKS:
        assert bench.main([name, "--write"]) == 0
    assert "one: 3 seeds" in capsys.readouterr().out
    page = (tmp_path / "docs" / "benchmarks" / "representation.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith(("| one", "| two"))]
    assert len(rows) == 2
    assert "![two](pictures/two.png)" in page
    assert "![one]" not in page
    assert "| right answers | 0.900 | 0.500 (guessing) | +0.400 [+0.400, +0.400] | NO, wants +0.5 | 3 |" in rows[0]
    assert bench.main(["one", "--write", "--scale", "0.5"]) == 1
    assert "expected a whole benchmark" in capsys.readouterr().err
    assert bench.main(["three"]) == 1
    assert "expected one of one, two or all, found 'three'" in capsys.readouterr().err


def test_every_system_has_a_benchmark():
    assert not set(SYSTEMS) - set(bench.BENCHMARKS)


def test_too_few_seeds_are_refused():
    with pytest.raises(ValueError, match="expected at least 2"):
        BenchOptions(seeds=1)
