from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from representation import registry
from representation.data.frames import Frames, write_frames
from representation.embed import main as embed_main
from representation.embedding import embed
from representation.interface import Encoder
from representation.list import ListOptions, lines
from representation.pretrain import configured, main
from representation.probe import main as probe_main
from representation.probes import knn_probe, linear_probe, ridge_probe
from representation.registry import SYSTEMS, load_encoder, module_of

TRAINED = [name for name in SYSTEMS if hasattr(module_of(name), "Config")]
COLORS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (230, 230, 230)}


def colored(count: int = 64, size: int = 32) -> Frames:
    """Noisy pictures of one colour each, with text, labels, cloud and rotation; four of them are an episode."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % len(COLORS)
    images = np.array(list(COLORS.values()))[labels][:, None, None] + rng.normal(0, 12, (count, size, size, 3))
    texts = [f"a {list(COLORS)[label]} wall" for label in labels]
    columns = {"label": labels, "points": rng.normal(size=(count, 512, 3)).astype(np.float32)}
    rotation = rng.normal(size=(count, 4))
    columns["rotation"] = rotation / np.linalg.norm(rotation, axis=1, keepdims=True)
    columns["segmentation"] = np.repeat(labels, size * size).reshape(count, size, size).astype(np.uint8)
    episodes, names = np.arange(count) // len(COLORS), {"label": tuple(COLORS), "segmentation": tuple(COLORS)}
    return Frames(images.clip(0, 255).astype(np.uint8), episodes, columns, names, texts)


@pytest.fixture(scope="module")
def frames():
    return colored()


def config_of(name: str, frames: Frames, place: Path):
    """The system's own configuration; with the encoders that it builds on where there are some."""
    config = module_of(name).Config()
    if name == "diti":
        denoisers = module_of("diffusion_classification")
        sizes = denoisers.Config(resolution=16, channels=8, multipliers=(1, 2), groups=4)
        denoisers.new(sizes, frames, 0).encoder.save(place / "denoiser")
        return dataclasses.replace(config, denoiser=str(place / "denoiser"))
    if name != "bt2":
        return config
    oca = module_of("oca")
    for seed in range(2):
        oca.new(oca.Config(dim=16 + 8 * seed), frames, seed).encoder.save(place / str(seed))
    return dataclasses.replace(config, old=str(place / "0"), new=str(place / "1"))


@pytest.mark.parametrize("name", TRAINED)
def test_every_objective_trains_all_that_it_should_and_repeats_itself(name, frames, tmp_path):
    module, rows = module_of(name), np.arange(8)
    losses, config = [], config_of(name, frames, tmp_path)
    for _ in range(2):
        objective = module.new(config, frames, seed=0)
        batch = objective.batch(frames, rows, torch.Generator().manual_seed(1))
        losses.append(objective(batch).total)
    assert torch.equal(losses[0], losses[1])
    losses[1].backward()
    still = [key for key, p in objective.named_parameters() if p.requires_grad and p.grad is None]
    assert not still
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", TRAINED)
def test_every_encoder_comes_back_equal_and_does_not_mind_its_neighbours(name, frames, tmp_path):
    module = module_of(name)
    encoder = module.new(config_of(name, frames, tmp_path), frames, seed=0).encoder.eval()
    assert isinstance(encoder, Encoder)
    encoder.save(tmp_path / "saved")
    again = load_encoder(tmp_path / "saved")
    vectors = embed(encoder, frames)
    assert vectors.shape == (len(frames), encoder.width)
    np.testing.assert_array_equal(embed(again, frames), vectors)
    np.testing.assert_allclose(embed(encoder, frames, batch_size=3), vectors, atol=1e-5)


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_every_system_tells_its_paper_and_its_settings(name):
    system, module = SYSTEMS[name], module_of(name)
    (number,) = re.findall(r"arXiv [\d.]+\d", system.paper)
    assert number in (module.__doc__ or "")
    text = "\n".join(lines(ListOptions(name)))
    assert system.role in text
    assert name in "\n".join(lines(ListOptions()))


def test_a_run_pretrains_measures_and_leaves_an_encoder_to_embed_and_probe_with(frames, tmp_path, capsys):
    write_frames(frames, tmp_path / "data")
    words = ["--system", "clip", "--data", str(tmp_path / "data"), "--output", str(tmp_path / "run"), "--steps", "40"]
    words += ["--batch-size", "16", "--validation-episodes", "4", "--validate-every", "20", "--threads", "1"]
    words += ["--warmup-steps", "4", "--average-decay", "0.8", "--set", "embed_dim=32", "vision_width=8"]
    main(words)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    measured = [row for row in rows if "validation/loss" in row]
    assert [row["step"] for row in measured] == [20, 40]
    assert measured[-1]["validation/probe/knn"] > 0.9
    encoder = load_encoder(tmp_path / "run")
    assert encoder.width == 32
    scores = encoder.scores(frames.pixels(np.arange(8)), [f"a {name} wall" for name in COLORS])
    assert torch.allclose(scores.sum(dim=1), torch.ones(8))
    assert main(words) == 2
    assert "error: --output: expected an unused directory" in capsys.readouterr().err
    places = ["--encoder", str(tmp_path / "run"), "--data", str(tmp_path / "data")]
    embed_main([*places, "--output", str(tmp_path / "vectors.npz")])
    with np.load(tmp_path / "vectors.npz") as file:
        assert file["vectors"].shape == (len(frames), 32)
    capsys.readouterr()
    probe_main(places)
    found = {line.split("  ")[0]: float(line.split()[-3]) for line in capsys.readouterr().out.splitlines()[1:]}
    assert found["label by a linear probe"] > 0.9


def test_wrong_systems_settings_and_frames_are_refused(frames, tmp_path):
    with pytest.raises(ValueError, match=r"system: expected one of .*clip.*, found 'clap'"):
        module_of("clap")
    config = module_of("clip").Config
    assert configured(config, ["embed_dim=16"]).embed_dim == 16
    with pytest.raises(ValueError, match="--set: expected NAME=VALUE"):
        configured(config, ["embed=16"])
    with pytest.raises(ValueError, match="--set: expected values"):
        configured(config, ["embed_dim=wide"])
    mute = Frames(frames.images, frames.episode)
    with pytest.raises(ValueError, match=r"expected \['texts'\]"):
        module_of("clip").new(config(), mute, seed=0)
    with pytest.raises(FileNotFoundError, match=r"found no encoder\.json"):
        registry.load_encoder(tmp_path)


def test_votes_of_neighbours_weigh_what_their_cosines_say():
    angles = np.array([0.0, 0.5, 0.6])  # of one of a class, and two of another
    train = np.stack([np.cos(angles), np.sin(angles)], axis=1), np.array([0, 1, 1])
    test = np.array([[1.0, 0.0]]), np.array([0])
    near, far = np.exp(1 / 0.5), np.exp(np.cos(angles[1:]) / 0.5).sum()
    assert near < far
    assert knn_probe(train, test, "class", 3).score == knn_probe(train, test, "class", 3, 0.5).score == 0.0
    near, far = np.exp(1 / 0.1), np.exp(np.cos(angles[1:]) / 0.1).sum()
    assert near > far
    assert knn_probe(train, test, "class", 3, 0.1).score == 1.0


def test_probes_tell_how_much_is_known():
    rng = np.random.default_rng(0)
    labels, noise = rng.integers(0, 3, 300), rng.normal(size=(300, 4))
    telling = np.concatenate([noise, 4 * np.eye(3)[labels]], axis=1)
    for probe in (knn_probe, linear_probe):
        good = probe((telling[:200], labels[:200]), (telling[200:], labels[200:]), "class")
        bad = probe((noise[:200], labels[:200]), (noise[200:], labels[200:]), "class")
        assert good.score > 0.95
        assert bad.score < 0.6
        assert bad.low < bad.score < bad.high
    targets = telling @ rng.normal(size=(7, 2))
    assert ridge_probe((telling[:200], targets[:200]), (telling[200:], targets[200:]), "place").score > 0.95
    unknown = rng.normal(size=(300, 2))
    assert ridge_probe((telling[:200], unknown[:200]), (telling[200:], unknown[200:]), "place").score < 0.2
