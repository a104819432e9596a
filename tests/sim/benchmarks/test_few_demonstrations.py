from __future__ import annotations

import json

import numpy as np
import torch

from representation.data.frames import SEGMENTATION, Frames
from representation.pretraining.segmentation import Config, new
from representation.registry import load_encoder
from sim.benchmarks.few_demonstrations import ARMS, main, write_random
from sim.collect import CollectConfig, collect


def encoder_of(directory):
    shown = np.zeros((8, 32, 32), np.uint8)
    shown[:, 8:] = 1
    frames = Frames(np.zeros((8, 32, 32, 3), np.uint8), np.arange(8), {SEGMENTATION: shown}, {SEGMENTATION: ("a", "b")})
    encoder = new(Config(resolution=32, channels=(4, 4, 4)), frames, seed=0).encoder
    encoder.save(directory)
    return encoder


def test_random_weights_are_drawn_anew_for_a_network_of_the_same_shape(tmp_path):
    before = encoder_of(tmp_path / "encoder").state_dict()
    for seed in (0, 0, 1):
        write_random(tmp_path / "encoder", tmp_path / str(seed), seed)
    found = [load_encoder(tmp_path / str(seed)).state_dict() for seed in (0, 1)]
    weights = "features.0.weight"
    assert found[0].keys() == before.keys()
    assert not torch.equal(found[0][weights], before[weights])
    assert not torch.equal(found[0][weights], found[1][weights])


def test_all_kinds_of_towers_learn_from_the_same_share_and_are_tried(tmp_path, capsys):
    collect(CollectConfig(output=tmp_path / "data", task="lift_tray", episodes=3, size=32, noisy=False))
    encoder_of(tmp_path / "encoder")
    words = ["--encoder", str(tmp_path / "encoder"), "--dataset", str(tmp_path / "data"), "--task", "lift_tray"]
    words += ["--output", str(tmp_path / "out"), "--share", "0.5", "--steps", "2", "--seeds", "1"]
    words += ["--episodes", "1", "--query-steps", "16", "--image-size", "32", "--batch-size", "8", "--threads", "1"]
    main([*words, "--mixed-precision", "no", "--workers", "1"])
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert list(result["successes"]) == list(ARMS)
    assert result["episodes"] == 1
    assert list(result["difference"]) == ["frozen", "trained on"]
    assert "random" in capsys.readouterr().out
    towers = {}
    for arm in ("frozen", "trained_on", "random"):
        towers[arm] = load_encoder(tmp_path / "out" / arm / "0" / "run" / "policy" / "image_tower").state_dict()
        told = json.loads((tmp_path / "out" / arm / "0" / "run" / "policy" / "train_config.json").read_text())
        assert told["share"] == 0.5
    weights, first = "features.0.weight", load_encoder(tmp_path / "encoder").state_dict()
    assert torch.equal(towers["frozen"][weights], first[weights])
    assert not torch.equal(towers["trained_on"][weights], first[weights])
