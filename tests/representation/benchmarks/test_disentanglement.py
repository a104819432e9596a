from __future__ import annotations

import numpy as np
import pytest
import torch

from representation.benchmarks import disentanglement
from representation.benchmarks.claims import BenchOptions
from representation.benchmarks.disentanglement import (
    AUTOENCODER,
    COURSES,
    MEASURES,
    PRINCIPAL,
    UNTRAINED,
    by_object,
    claims,
    measure,
    plain_autoencoder,
    scores,
)
from representation.data.frames import LABEL, Frames
from representation.disentanglement import sources_of
from representation.generative.qlae import infomec
from representation.pretraining.sie import relative_rotation
from representation.registry import SYSTEMS


def renders(count):
    """Squares of three colours and two sizes in any place, with what is known of renders."""
    rng = np.random.default_rng(0)
    color, scale, shape = np.arange(count) % 3, np.arange(count) // 3 % 2, np.arange(count) // 6 % 2
    position, turn = rng.uniform(-1, 1, (count, 2)), rng.uniform(-np.pi, np.pi, count)
    images = np.full((count, 32, 32, 3), 40, np.uint8)
    for image, c, half, (x, y) in zip(images, color, 4 + 3 * scale, position, strict=True):
        row, column = int(15 + 8 * y), int(15 + 8 * x)
        image[row - half : row + half, column - half : column + half, c] = 220
    columns = {"color": color, "shape": shape, "scale": scale, LABEL: color * 2 + shape}
    columns |= {"position": position.astype(np.float32), "turn": turn.astype(np.float32)}
    texts = [f"a {('small', 'large')[s]} {('red', 'green', 'blue')[c]} one" for s, c in zip(scale, color, strict=True)]
    return Frames(images, np.arange(count), columns, {"color": ("red", "green", "blue")}, texts)


def test_renders_of_one_kind_are_views_of_one_object_turned_about_the_vertical():
    frames = renders(60)
    objects = by_object(frames)
    kinds = {tuple(int(frames.columns[n][row]) for n in ("color", "shape", "scale")) for row in range(60)}
    assert len(np.unique(objects.episode)) == len(kinds) == 12
    rows = np.flatnonzero(objects.episode == objects.episode[0])
    assert all(len(set(frames.columns[name][rows])) == 1 for name in ("color", "shape", "scale"))
    first, second = (torch.from_numpy(objects.columns["rotation"][rows[k : k + 1]]).float() for k in (0, 1))
    between = relative_rotation(first, second)[0].numpy()
    turned = frames.columns["turn"][rows[1]] - frames.columns["turn"][rows[0]]
    assert np.abs(between[:2]).max() < 1e-6
    assert np.isclose(np.cos(2 * np.arctan2(between[2], between[3])), np.cos(turned), atol=1e-5)


def test_the_plain_autoencoder_is_that_of_qlae_without_its_quantiser():
    frames = renders(80)
    encoder = plain_autoencoder(frames, 0).encoder.eval()
    _, sources = sources_of(frames, ("color", "position"), 3)
    found = measure(encoder, frames, sources)
    with torch.no_grad():
        z = encoder.model.encoder(frames.pixels(np.arange(80)))
    assert np.allclose(found.nmi, infomec(sources, z.numpy(), discrete=False).nmi, atol=1e-3)
    assert encoder.model.quantizer is None


def test_every_system_is_measured_beside_all_baselines(monkeypatch):
    assert set(COURSES) <= set(SYSTEMS)
    kept = {name: COURSES[name] for name in ("qlae", "sie")}
    monkeypatch.setattr(disentanglement, "COURSES", kept)
    frames = by_object(renders(160))
    parts = frames.subset(np.arange(80)), frames.subset(np.arange(80, 160))
    found = scores(*parts, BenchOptions(scale=0.003), 0)
    assert set(found) == {(name, kind) for name in kept for kind in ("trained", UNTRAINED, PRINCIPAL, AUTOENCODER)}
    assert found["sie", PRINCIPAL].nmi.shape == (6, 32)
    assert found["qlae", AUTOENCODER].nmi.shape == found["qlae", "trained"].nmi.shape == (6, 12)
    told = claims([found, found])
    assert len(told) == len(kept) * (3 * len(MEASURES) + 1)
    assert all(claim.least is None and np.isfinite([*claim.ours, *claim.baseline]).all() for claim in told)


def test_too_few_renders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="renders"):
        disentanglement.run(BenchOptions(data=tmp_path / "renders"))
