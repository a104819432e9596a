from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from representation.memory.origin_identification.identifier import FitConfig, OriginIdentifier, lr_factor
from representation.memory.origin_identification.lda import LdaProjection


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def flat(images):
    return images.flatten(1)


def test_the_learning_rate_rises_stays_and_falls():
    found = [lr_factor(epoch) for epoch in (0, 1, 4, 5, 9, 10, 17.5, 24)]
    assert found == pytest.approx([0.01, 0.208, 0.802, 1, 1, 1, 0.5, 0.0109], abs=1e-3)


def test_longer_vectors_score_alike(tmp_path):
    save_file({"weight": drawn(6, 12)}, tmp_path / "w.safetensors")
    ours, longer = OriginIdentifier(flat, 6), OriginIdentifier(lambda images: 3 * flat(images), 6)
    for one in (ours, longer):
        one.load_projection(tmp_path / "w.safetensors")
    images = drawn(5, 3, 2, 2, seed=1)
    torch.testing.assert_close(longer.embed(images), ours.embed(images), atol=1e-6, rtol=0)
    torch.testing.assert_close(ours.embed(images).norm(dim=1), torch.ones(5))


def test_published_files_are_read_and_wrong_shapes_refused(tmp_path):
    weight, identifier = drawn(6, 12), OriginIdentifier(flat, 6)
    torch.save(weight, tmp_path / "w.pth.tar")
    torch.save({"state_dict": {"module.base.0.fc1.weight": weight, "other": weight}}, tmp_path / "state.pth.tar")
    for name in ("w.pth.tar", "state.pth.tar"):
        identifier.load_projection(tmp_path / name)
        torch.testing.assert_close(identifier.projection.weight.data, weight)
    with pytest.raises(ValueError, match="vectors: expected 12 numbers, as the projection takes them, found 27"):
        identifier.embed(drawn(1, 3, 3, 3))
    torch.save(weight.T, tmp_path / "wide.pth.tar")
    with pytest.raises(ValueError, match=r"expected a projection \(6, D\), found \(12, 6\)"):
        identifier.load_projection(tmp_path / "wide.pth.tar")
    torch.save({"a": weight, "b": weight}, tmp_path / "two.pth.tar")
    with pytest.raises(ValueError, match="expected one tensor or module"):
        identifier.load_projection(tmp_path / "two.pth.tar")
    torch.save(FitConfig(), tmp_path / "code.pth.tar")
    with pytest.raises(ValueError, match="cannot be read"):
        identifier.load_projection(tmp_path / "code.pth.tar")
    with pytest.raises(ValueError, match="expected one that was fitted or loaded, found none"):
        OriginIdentifier(flat).embed(drawn(1, 3, 2, 2))


def test_noise_in_a_subspace_is_left_out_by_the_learned_map_and_by_the_closed_form():
    """Noise five times as large as what tells the origins, in 8 of 64 directions."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.linalg.qr(torch.randn(64, 8, generator=generator)).Q

    def pairs(count):
        origins = torch.randn(count, 64, generator=generator)
        size = 5 * 64**0.5 / 8**0.5
        return origins, origins.repeat(4, 1) + size * torch.randn(4 * count, 8, generator=generator) @ noise.T

    origins, made = pairs(200)
    of = np.tile(np.arange(200), 4)
    config = FitConfig(steps=300, identities=64, lr=5e-3, s=16)
    identifier = OriginIdentifier(lambda v: v, 32).fit(origins, list(zip(made, of.tolist(), strict=True)), config)
    lda = LdaProjection(32).fit(origins, made, of)
    test, queries = pairs(100)

    def hits(embed):
        found = torch.as_tensor(embed(queries)) @ torch.as_tensor(embed(test)).T
        return (found.argmax(dim=1).numpy() == np.tile(np.arange(100), 4)).mean()

    assert hits(torch.nn.functional.normalize) <= 0.5
    assert hits(lda.project) >= 0.99
    assert hits(identifier.embed) >= 0.99


def test_translations_without_origin_and_origins_without_translation_are_refused():
    origins = drawn(3, 3, 2, 2)
    with pytest.raises(ValueError, match="expected numbers of 3 origins, found 3"):
        OriginIdentifier(flat, 4).fit(origins, [(origins[0], 3)])
    with pytest.raises(ValueError, match=r"expected one of each origin, found none of \[1, 2\]"):
        OriginIdentifier(flat, 4).fit(origins, [(origins[0], 0)])
    with pytest.raises(ValueError, match="instances: expected an origin"):
        FitConfig(instances=1)
    with pytest.raises(ValueError, match="expected at least 8 numbers, found 4"):
        LdaProjection(8).fit(drawn(9, 4), drawn(9, 4), np.arange(9))
