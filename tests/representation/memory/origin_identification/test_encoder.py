from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from representation.data.frames import Frames
from representation.memory.origin_identification import Config, load, new
from representation.memory.origin_identification.autoencoder import SmallAutoencoder
from representation.memory.origin_identification.edits import EDITS, edited
from representation.memory.origin_identification.released import main


def noisy(count=6, size=16):
    images = np.random.default_rng(0).integers(0, 255, (count, size, size, 3), dtype=np.uint8)
    return Frames(images, np.arange(count))


def test_the_divergence_is_that_of_the_distributions():
    autoencoder = SmallAutoencoder(16, 4, 2, torch.Generator().manual_seed(0))
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    mean, log_variance = autoencoder.posterior(images)
    own = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(own, torch.distributions.Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(autoencoder.losses(images, torch.zeros(3, 8))[1], expected)
    assert autoencoder.vectors(images).shape == (3, autoencoder.numbers)
    with pytest.raises(ValueError, match="resolution: expected a multiple of 8, found 20"):
        SmallAutoencoder(20, 4, 2)


def test_translations_are_instances_of_their_origins():
    frames = noisy()
    frames.columns["origin"] = np.array([0, 0, 0, 3, 3, 5])
    objective = new(Config(resolution=16, channels=4, latent=2, edits=("jpeg",)), frames, seed=0)
    batch = objective.batch(frames, np.array([1, 4]), torch.Generator().manual_seed(0))
    assert batch["labels"].tolist() == [0] * 4 + [3] * 4
    torch.testing.assert_close(batch["images"][[0, 4]], frames.pixels(np.array([0, 3])))
    frames.columns["origin"] = np.array([0, 0, 0, 3, 3, 6])
    with pytest.raises(ValueError, match="origin: expected rows of 6 frames, found 0 to 6"):
        new(Config(resolution=16), frames, seed=0)


def small_kl(directory):
    """An AutoencoderKL whose latents of 256 pixels are 2 x 128 x 128, and its directory."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(4, 4),
            norm_num_groups=2,
            latent_channels=2,
            sample_size=32,
        ).eval()
    model.save_pretrained(directory)
    return model


def test_an_autoencoder_of_diffusers_stays_as_it_is_and_its_mean_is_what_is_mapped(tmp_path):
    model = small_kl(tmp_path / "vae")
    frames = noisy(4, 32)
    objective = new(Config(vae=str(tmp_path / "vae"), width=8), frames, seed=0)
    batch = objective.batch(frames, np.arange(2), torch.Generator().manual_seed(0))
    objective(batch).total.backward()
    encoder = objective.encoder
    assert [name for name, p in encoder.named_parameters() if p.grad is not None] == ["projection.weight"]
    image = torch.rand(1, 3, 256, 256)
    with torch.no_grad():
        expected = model.encode(2 * image - 1).latent_dist.mean.flatten(1)
        torch.testing.assert_close(encoder.autoencoder.vectors(image), expected)
        encoder.save(tmp_path / "encoder")
        torch.testing.assert_close(load(tmp_path / "encoder").encode(image), encoder.encode(image))
    with pytest.raises(ValueError, match=r"expected an AutoencoderKL of diffusers, found no config\.json"):
        new(Config(vae=str(tmp_path)), frames, seed=0)
    (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="expected an AutoencoderKL of diffusers"):
        new(Config(vae=str(tmp_path / "vae")), frames, seed=0)


def test_published_weights_become_an_encoder(tmp_path, capsys):
    model = small_kl(tmp_path / "vae")
    weight = torch.randn(6, 2 * 128**2, generator=torch.Generator().manual_seed(0))
    torch.save(weight, tmp_path / "w.pth.tar")
    words = ["--vae", str(tmp_path / "vae"), "--projection", str(tmp_path / "w.pth.tar")]
    main([*words, "--output", str(tmp_path / "encoder")])
    assert "an encoder of 6 numbers" in capsys.readouterr().out
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model.encode(2 * image - 1).latent_dist.mean.flatten(1) @ weight.T
        torch.testing.assert_close(load(tmp_path / "encoder").encode(image), expected / expected.norm())
    torch.save(weight[:, 1:], tmp_path / "w.pth.tar")
    with pytest.raises(
        ValueError, match=r"expected a projection of 32768 numbers, as .* gives them, found one of 32767"
    ):
        main([*words, "--output", str(tmp_path / "other")])


@pytest.mark.parametrize("kind", EDITS)
def test_every_edit_changes_pictures_and_keeps_size_and_range(kind):
    images = noisy().pixels(np.arange(6))
    found = EDITS[kind](images, torch.Generator().manual_seed(0))
    assert found.shape == images.shape
    assert found.min() >= 0
    assert found.max() <= 1
    assert (found - images).abs().max() > 0.01
    torch.testing.assert_close(EDITS[kind](images, torch.Generator().manual_seed(0)), found)


def test_unknown_edits_are_refused():
    with pytest.raises(ValueError, match=r"edits: expected some of restyle.*found \['dream'\]"):
        edited(torch.rand(1, 3, 8, 8), torch.Generator(), ("dream",))
