from __future__ import annotations

import json
from pathlib import Path

import pytest

from sim import bench
from sim.bench import BENCHMARKS, Arguments, Benchmark, main


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Arguments]:
    """Two fake benchmarks in place of the real ones, and a working directory of our own."""
    calls: list[Arguments] = []

    def run(arguments: Arguments) -> dict[str, int]:
        calls.append(arguments)
        return {"answer": len(calls)}

    fake = Benchmark(run, lambda result: f"answer {result['answer']}", lambda result: f"# {result['answer']}\n")
    broken = Benchmark(lambda _: (_ for _ in ()).throw(RuntimeError("no network")), str, str)
    for name in list(BENCHMARKS):
        monkeypatch.delitem(bench.BENCHMARKS, name)
    for name, benchmark in {"first": fake, "second": fake, "broken": broken}.items():
        monkeypatch.setitem(bench.BENCHMARKS, name, benchmark)
    monkeypatch.chdir(tmp_path)
    return calls


def test_without_a_name_all_run(ran: list[Arguments], capsys: pytest.CaptureFixture[str]) -> None:
    del bench.BENCHMARKS["broken"]
    assert main([]) == 0
    assert capsys.readouterr().out == "answer 1\nanswer 2\n"


def test_nothing_is_written_unless_asked(ran: list[Arguments]) -> None:
    assert main(["first"]) == 0
    assert not list(Path.cwd().iterdir())
    assert main(["first", "--write"]) == 0
    assert json.loads(Path("docs/benchmarks/first.json").read_text()) == {"answer": 2}
    assert Path("docs/benchmarks/first.md").read_text() == "# 2\n"


def test_settings_reach_the_benchmark(ran: list[Arguments]) -> None:
    assert main(["first", "--seconds", "0.5", "--repetitions", "4", "--environments", "elsewhere"]) == 0
    assert (ran[0].speed.seconds, ran[0].speed.repetitions, ran[0].speed.environments) == (0.5, 4, Path("elsewhere"))


def test_failures_are_told_on_one_channel_with_a_failing_exit_code(
    ran: list[Arguments], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["broken"]) == 1
    assert capsys.readouterr().err == "error: no network\n"
    assert main(["third"]) == 1
    assert "expected one of first, second, broken or all, found 'third'" in capsys.readouterr().err
