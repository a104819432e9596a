from __future__ import annotations

from rosbags.rosbag2 import Reader

from representation.data.recover_bag import main
from tests.representation.data.test_bag_reader import write_bag


def test_a_cut_bag_becomes_one_for_every_tool(tmp_path, capsys):
    path = write_bag(tmp_path / "bag", count=400)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert main([str(tmp_path / "bag"), str(tmp_path / "recovered")]) == 0
    assert "ends in the middle of a record" in capsys.readouterr().out
    with Reader(tmp_path / "recovered") as reader:
        assert 0 < reader.message_count < 400
        assert [stamp for _, stamp, _ in reader.messages()] == list(range(reader.message_count))


def test_what_is_no_bag_or_would_be_overwritten_is_refused(tmp_path, capsys):
    write_bag(tmp_path / "bag")
    assert main([str(tmp_path / "nothing"), str(tmp_path / "recovered")]) == 1
    assert main([str(tmp_path / "bag"), str(tmp_path / "bag")]) == 1
    assert "expected a new directory" in capsys.readouterr().err
