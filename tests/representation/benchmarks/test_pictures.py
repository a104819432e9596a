import pytest

from representation.bench import BENCHMARKS
from representation.benchmarks import pictures
from representation.benchmarks.claims import BenchOptions


def test_one_or_all_are_drawn_where_they_are_asked_for(tmp_path, monkeypatch, capsys):
    assert not set(pictures.PICTURES) - set(BENCHMARKS)
    drawn = []
    monkeypatch.setattr(
        pictures, "PICTURES", {"a": lambda *found: drawn.append(found), "b": lambda *_: drawn.append(())}
    )
    pictures.main(["a", "--output", str(tmp_path), "--scale", "0.5", "--threads", "1"])
    assert drawn == [(BenchOptions(scale=0.5), tmp_path / "a.png")]
    pictures.main(["--output", str(tmp_path), "--threads", "1"])
    assert len(drawn) == 3
    assert capsys.readouterr().out.count(str(tmp_path)) == 3
    with pytest.raises(SystemExit, match="expected one of a, b or all, found 'c'"):
        pictures.main(["c"])
