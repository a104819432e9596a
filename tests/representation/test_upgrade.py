from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from representation.compatibility import bt2, d_simplex, oca, upgrading
from representation.compatibility.class_prototypes import class_prototypes, write_prototypes
from representation.compatibility.relative_representations import Config as RelativeConfig
from representation.compatibility.relative_representations import RelativeEncoder
from representation.compatibility.relative_representations import new as new_relative
from representation.compatibility.stored_vectors import VectorFile, read_vectors
from representation.compatibility.upgrade_report import Measurement, Stored
from representation.data.frames import Frames, write_frames
from representation.embed import main as embed_main
from representation.embedding import embed
from representation.registry import load_encoder
from representation.training import LoopConfig
from representation.upgrade import main

COLORS = ((220, 30, 30), (30, 200, 30), (30, 30, 220), (230, 230, 230))
QUICK = ["--steps", "30", "--batch-size", "16", "--warmup-steps", "3", "--average-decay", "0.8", "--threads", "1"]


def colored(count=96, seed=0, with_labels=True):
    """Noisy pictures of one colour each; four of them are an episode."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(COLORS)
    images = np.array(COLORS)[labels][:, None, None] + rng.normal(0, 40, (count, 32, 32, 3))
    columns = {"label": labels} if with_labels else {}
    return Frames(images.clip(0, 255).astype(np.uint8), np.arange(count) // 4, columns)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Frames with and without classes, encoders, and memories of the first of them."""
    root = tmp_path_factory.mktemp("upgrade")
    frames = colored()
    write_frames(frames, root / "data")
    write_frames(colored(seed=1, with_labels=False), root / "mute")
    write_frames(colored(seed=2), root / "past")
    oca.new(oca.Config(dim=8), frames, seed=0).encoder.save(root / "old")
    oca.new(oca.Config(dim=12), frames, seed=1).encoder.save(root / "new")
    d_simplex.new(d_simplex.Config(num_classes=6), frames, seed=0).encoder.save(root / "simplex")
    new_relative(RelativeConfig(anchors=20, width=16), frames, seed=0).encoder.save(root / "relative")
    for encoder in ("old", "simplex", "relative"):
        embed_main(
            ["--encoder", f"{root / encoder}", "--data", f"{root / 'past'}", "--output", f"{root / encoder}.npz"]
        )
    embed_main(["--encoder", f"{root / 'old'}", "--data", f"{root / 'mute'}", "--output", f"{root / 'mute'}.npz"])
    return root


def words(place, output, memory="old", data="data", **paths):
    named = {"memory": f"{memory}.npz", "new-encoder": "new", "data": data, **paths}
    found = [word for name, value in named.items() for word in (f"--{name}", str(place / value))]
    return [*found, "--output", str(output), *QUICK]


def upgraded(output, words):
    main(words)
    return json.loads((output / "upgrade.json").read_text()), load_encoder(output)


def test_oca_needs_no_more_than_a_memory_with_classes(place, tmp_path, capsys):
    before = (place / "old.npz").read_bytes()
    report, encoder = upgraded(tmp_path, words(place, tmp_path))
    assert report["method"] == "oca"
    assert isinstance(encoder, oca.OCAEncoder)
    assert encoder.width == 8 + 16
    assert set(report["retrieval"]) == {"old/old", "new/old", "new/new", "re-indexed"}
    assert report["galleries"]["new/old"] == "96 entries of the memory"
    assert report["galleries"]["new/new"] == "28 held-out frames"
    assert report["found_again"] is None
    assert report["retrieval"]["new/old"]["mAP"] > 0.5
    assert report["cost"]["vectors rewritten"] == 0
    assert report["cost"]["re-indexing: pictures encoded"] == 96
    assert not (tmp_path / "memory.npz").exists()
    assert (place / "old.npz").read_bytes() == before
    out = capsys.readouterr().out
    assert "path: oca, since there are classes" in out
    assert "not bt2: needs the old encoder" in out
    with pytest.raises(ValueError, match="expected an unused directory"):
        main(words(place, tmp_path))


def test_bt2_keeps_an_independent_encoder_beside_the_old_one(place, tmp_path):
    arguments = [
        *words(place, tmp_path, **{"old-encoder": "old", "memory-data": "past"}),
        "--keep-new",
        "--extra-dims",
        "4",
    ]
    report, encoder = upgraded(tmp_path, arguments)
    assert report["method"] == "bt2"
    assert isinstance(encoder, bt2.BT2Encoder)
    assert encoder.width == 12 + 4
    assert report["galleries"] == dict.fromkeys(report["retrieval"], "96 entries of the memory")


def test_versions_under_a_simplex_go_on_under_it(place, tmp_path):
    report, encoder = upgraded(tmp_path, words(place, tmp_path, "simplex", **{"old-encoder": "simplex"}))
    assert report["method"] == "d_simplex"
    assert isinstance(encoder, d_simplex.DSimplexEncoder)
    assert encoder.num_classes == 6


def test_without_classes_anchors_do_and_the_memory_becomes_coordinates(place, tmp_path):
    arguments = words(place, tmp_path, "mute", "mute", **{"old-encoder": "old", "anchors": "mute"})
    report, encoder = upgraded(tmp_path, [*arguments, "--anchor-count", "24"])
    assert report["method"] == "relative_representations"
    assert isinstance(encoder, RelativeEncoder)
    memory, old = read_vectors(tmp_path / "memory.npz"), read_vectors(place / "mute.npz")
    assert memory.vectors.shape == (96, 24)
    assert report["cost"]["pictures encoded for the memory"] == 48
    assert report["retrieval"] == {}
    assert 0 < report["found_again"] <= 1
    before = RelativeEncoder(load_encoder(place / "old"), encoder.anchor_inputs, center=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(memory.vectors), before.project(torch.from_numpy(old.vectors)))


def test_a_memory_of_coordinates_stays_as_it_is(place, tmp_path):
    report, encoder = upgraded(tmp_path, words(place, tmp_path, "relative", **{"old-encoder": "relative"}))
    assert report["method"] == "relative_representations"
    assert report["cost"]["vectors rewritten"] == 0
    assert torch.equal(encoder.anchor_inputs, load_encoder(place / "relative").anchor_inputs)
    assert not (tmp_path / "memory.npz").exists()


def test_reindexing_writes_the_memory_anew(place, tmp_path):
    arguments = [*words(place, tmp_path, **{"memory-data": "past"}), "--path", "reindex"]
    report, encoder = upgraded(tmp_path, arguments)
    assert report["cost"]["vectors rewritten"] == 96
    np.testing.assert_allclose(
        read_vectors(tmp_path / "memory.npz").vectors, embed(encoder, colored(seed=2)), atol=1e-6
    )
    assert report["found_again"] is None
    assert report["retrieval"]["new/old"] == report["retrieval"]["new/new"] == report["retrieval"]["re-indexed"]


def test_a_plan_is_told_and_not_taken(place, tmp_path, capsys):
    main([*words(place, tmp_path, "mute", "mute", **{"old-encoder": "old", "anchors": "mute"}), "--plan"])
    assert "path: relative_representations, since nothing can be trained" in capsys.readouterr().out
    assert not any(tmp_path.iterdir())
    with pytest.raises(ValueError, match="upgrade: expected what one path needs, found too little"):
        main([*words(place, tmp_path, "mute", "mute"), "--plan"])


def test_parts_that_do_not_fit_are_refused(place, tmp_path):
    with pytest.raises(ValueError, match="old_encoder: expected the one of 8 numbers, as in the memory, found 12"):
        main(words(place, tmp_path, **{"old-encoder": "new"}))
    write_frames(colored(40), tmp_path / "few")
    with pytest.raises(ValueError, match="memory_data: expected the 96 frames of the memory, found 40"):
        main(words(place, tmp_path / "run", **{"memory-data": tmp_path / "few"}))
    frames = colored()
    named = Frames(frames.images, frames.episode, frames.columns, {"label": ("a", "b", "c", "d")})
    write_frames(named, tmp_path / "named")
    other = VectorFile(np.ones((8, 8), np.float32), np.arange(8), np.arange(8) % 4, ("b", "a", "c", "d"))
    other.write(tmp_path / "other.npz")
    arguments = words(place, tmp_path / "run", memory=tmp_path / "other", data=tmp_path / "named")
    with pytest.raises(ValueError, match=r"data: expected the classes of the memory, \('b', 'a', 'c', 'd'\)"):
        main(arguments)
    write_prototypes(torch.ones(4, 5), tmp_path / "p.safetensors")
    with pytest.raises(ValueError, match=r"prototypes: expected \(C, 8\), found \(4, 5\)"):
        main(words(place, tmp_path / "run", prototypes=tmp_path / "p.safetensors"))


def test_prototypes_alone_do_for_a_memory_without_classes(place, tmp_path):
    frames = colored()
    features = torch.from_numpy(embed(load_encoder(place / "old"), frames))
    write_prototypes(class_prototypes(features, torch.arange(96) % 4, 4), tmp_path / "p.safetensors")
    report, _ = upgraded(
        tmp_path / "run", words(place, tmp_path / "run", "mute", prototypes=tmp_path / "p.safetensors")
    )
    assert report["method"] == "oca"
    assert set(report["retrieval"]) == {"new/new", "re-indexed"}


@pytest.mark.parametrize("method", ["oca", "bct", "independent"])
def test_methods_of_one_interface_measure_the_same_pairs(place, tmp_path, method):
    config = LoopConfig(
        output=tmp_path, steps=2, batch_size=16, validation_episodes=0, average_decay=0.5, warmup_steps=1, threads=1
    )
    old, backbone = load_encoder(place / "old"), load_encoder(place / "new")
    report = upgrading.upgrade_encoder(old, backbone, colored(), method, config)
    assert report.method == method
    assert set(report.retrieval) == {"old/old", "new/old", "new/new", "re-indexed"}
    assert load_encoder(tmp_path).width == {"oca": 24, "bct": 8, "independent": 8}[method]


def test_an_encoder_of_given_sizes_is_trained_between_two_others(place, tmp_path):
    config = LoopConfig(
        output=tmp_path, steps=2, batch_size=16, validation_episodes=0, average_decay=0.5, warmup_steps=1, threads=1
    )
    old, new = load_encoder(place / "old"), load_encoder(place / "new")
    encoder = bt2.BT2Encoder(load_encoder(place / "new"), 12, 12, 8, 4, extra_dims=4)
    report = upgrading.train_bt2(encoder, old, new, colored(), config)
    assert set(report.retrieval) == {"old/old", "new/old", "new/new", "re-indexed"}
    assert load_encoder(tmp_path).width == 16
    with pytest.raises(ValueError, match="method: expected oca, bt2"):
        upgrading.upgrade_encoder(old, new, colored(), "other", config)


def test_the_same_encoder_finds_every_frame_again_and_old_vectors_are_carried():
    class Pixels:
        modality, width = "image", 12

        def encode(self, inputs):
            return torch.nn.functional.adaptive_avg_pool2d(inputs, 2).flatten(1)

    class Doubled(Pixels):
        def encode(self, inputs):
            return 2 * super().encode(inputs).flip(1)

    frames, memory = colored(40), VectorFile(np.ones((5, 12), np.float32), np.arange(5))
    same = Measurement(Pixels(), Pixels(), Pixels(), frames)
    assert same.found_again == 1.0
    assert same.retrieval["old/old"] == same.retrieval["new/old"] == same.retrieval["re-indexed"]
    stored = Stored(memory, memory.rewritten(memory.vectors), carried=lambda v: v.flip(1))
    carried = Measurement(Pixels(), Doubled(), Pixels(), frames, stored)
    assert carried.found_again == 1.0
    assert carried.retrieval["new/old"] == pytest.approx(same.retrieval["old/old"])
    assert carried.galleries["new/old"] == "40 held-out frames"
    dropped = Measurement(Pixels(), Doubled(), Pixels(), frames, Stored(memory, memory, carried=None))
    assert dropped.found_again is None
    assert set(dropped.retrieval) == {"new/new", "re-indexed"}
