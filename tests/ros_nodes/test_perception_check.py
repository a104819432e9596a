from __future__ import annotations

import json

from ros_nodes.perception_check import main
from tests.ros_nodes.test_perception_node import encoder

__all__ = ["encoder"]


def test_every_picture_of_a_slow_camera_is_looked_at(encoder, capsys):
    words = ["--encoder", str(encoder), "--duration-s", "4", "--size", "64", "--camera-rate-hz", "5", "--json"]
    assert main(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["frames_lost"] == 0
    assert 12 <= report["embeddings"] <= 28
    assert 0 < report["encoding_ms"][0] <= report["stamp_to_embedding_ms"][0]


def test_a_wrong_encoder_is_an_error(tmp_path, capsys):
    assert main(["--encoder", str(tmp_path), "--duration-s", "1"]) == 1
    assert "error:" in capsys.readouterr().err
