from __future__ import annotations

import numpy as np
import pytest
import torch

from representation.data.frames import Frames, write_frames
from representation.embedding import embed
from representation.generative.adm_unet import ADMUNet, UNetConfig
from representation.generative.denoiser import LINEAR, train_denoiser
from representation.generative.diffusion_classification import Config as DenoiserConfig
from representation.generative.diffusion_classification import FeatureEncoder
from representation.generative.diti import (
    CELEBA_DIMS,
    CELEBA_STAGES,
    PDAE,
    Config,
    DiTi,
    DiTiEncoder,
    PictureEncoder,
    ShiftUNet,
    TimeSlicer,
    load,
    new,
)
from representation.generative.edit_slices import bins_of, main, quarters
from representation.registry import load_encoder

SIZES = UNetConfig(16, 8, (1, 2), 1, (8,), 8, 3, 3, groups=4, dropout=0.5)
D, K = 8, 4


def pictures(count=16):
    """Pictures (N, 3, 16, 16) in [-1, 1] of a bright square in one of four corners."""
    generator = torch.Generator().manual_seed(0)
    x = -0.8 + 0.1 * torch.rand(count, 3, 16, 16, generator=generator)
    for number in range(count):
        row, column = divmod(number % 4, 2)
        x[number, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 0.8
    return x


def noise_like(x, seed=1):
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def stirred(module):
    """The module with no convolution left at zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return module


@pytest.fixture(scope="module")
def unet():
    """A network that was trained a little."""
    network = ADMUNet(SIZES)
    train_denoiser(network, pictures(), 30, seed=0, batch=8, lr=3e-3)
    return network


def model_of(unet, mode="base", k=K, stir=False):
    model = DiTi(unet, PictureEncoder(16, D, 8, 4), TimeSlicer(D, k), mode)
    if stir:
        for part in (model.shift.embed, model.shift.modulations, model.shift.out, model.shift.output_blocks):
            stirred(part)
    return model


def test_numbers_are_dealt_to_bins_as_in_the_paper():
    assert TimeSlicer().ends == tuple(range(8, 513, 8))
    slicer = TimeSlicer(stages=CELEBA_STAGES, dims=CELEBA_DIMS)
    assert [slicer.ends[i] for i in (3, 6, 19, 31, 63)] == [10, 35, 362, 462, 512]
    assert slicer.ends[:5] == (2, 4, 6, 10, 18)
    assert [int(slicer.bin(torch.tensor(t))) for t in (0, 15, 16, 500, 999)] == [0, 0, 1, 32, 63]


@pytest.mark.parametrize(
    "slicer", [TimeSlicer(10, 7), TimeSlicer(5, 12), TimeSlicer(100, 10, stages=[300, 1000], dims=[7, 93])]
)
def test_every_number_is_of_one_bin(slicer):
    assert torch.equal(slicer.own.sum(dim=0), torch.ones(slicer.latent_dim))
    assert torch.equal(slicer.masks, slicer.own.cumsum(dim=0))
    assert torch.equal(slicer.previous, slicer.masks - slicer.own)
    assert slicer.slice_of(range(slicer.k)).all()
    assert torch.equal(slicer.slice_of([1]), slicer.own[1] > 0)


def test_slices_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="dims: expected a sum of 8, found 7"):
        TimeSlicer(8, 4, stages=[500, 1000], dims=[3, 4])
    with pytest.raises(ValueError, match="stages, dims: expected as many of each"):
        TimeSlicer(8, 4, stages=[500, 900], dims=[4, 4])
    with pytest.raises(ValueError, match="expected a bin that begins from 10 to 99"):
        TimeSlicer(8, 4, stages=[10, 100, 1000], dims=[2, 2, 4])
    with pytest.raises(ValueError, match="latent_dim, k"):
        TimeSlicer(8, 0)
    with pytest.raises(ValueError, match="slices: expected some from 0 to 3"):
        TimeSlicer(8, 4).slice_of([4])


def test_the_encoder_of_the_paper_has_its_size():
    with torch.device("meta"):
        encoder = PictureEncoder()
        assert encoder(torch.zeros(2, 3, 64, 64)).shape == (2, 512)
        assert PictureEncoder(128)(torch.zeros(1, 3, 128, 128)).shape == (1, 512)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 1_487_104
    with pytest.raises(ValueError, match="resolution: expected a power of two"):
        PictureEncoder(48)


def test_nothing_is_corrected_at_first(unet):
    model, x, t = model_of(unet).train(), pictures(4), torch.tensor([3, 200, 600, 999])
    noise = noise_like(x)
    noisy = LINEAR.q_sample(x, t, noise)
    told, correction = model.shift(noisy, t, model.encode(x))
    assert torch.equal(told, unet(noisy, t))  # no dropout: it stays in evaluation mode
    assert not correction.any()
    weighted = (LINEAR.weight[t].view(-1, 1, 1, 1) * (noise - told).square()).mean()
    torch.testing.assert_close(model.loss(x, t, noise), weighted, atol=1e-6, rtol=1e-6)
    both = model_of(unet, "dual").loss(x, t, noise)
    torch.testing.assert_close(both, 2 * weighted, atol=1e-6, rtol=1e-6)


def test_the_branch_modulates_after_time_and_its_share_is_that_of_the_step(unet):
    model, x, t = model_of(unet, stir=True).eval(), pictures(2), torch.tensor([0, 500])
    z = model.encode(x)
    told, correction = model.shift(x, t, z)
    assert correction.abs().max() > 0
    expected = told + torch.tensor([0.0, -0.9547]).view(-1, 1, 1, 1) * correction
    torch.testing.assert_close(model.noise(x, t, z), expected, atol=1e-4, rtol=1e-4)
    block, time = model.shift.middle_block[0], unet.time(t)
    h = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    extra = torch.randn(2, 32, generator=torch.Generator().manual_seed(1))
    inner = block.out_layers[0](block.in_layers(h))
    (s, b), (sz, bz) = (both[..., None, None].chunk(2, dim=1) for both in (block.emb_layers(time), extra))
    wanted = block.out_layers[1:]((1 + sz) * ((1 + s) * inner + b) + bz) + h
    torch.testing.assert_close(block(h, time, extra), wanted)


@pytest.mark.parametrize("mode", ["base", "stop_grad", "dual"])
def test_gradients_reach_the_numbers_of_the_mode_alone(unet, mode):
    model, t = model_of(unet, mode, stir=True), torch.full((4,), 600)
    x = pictures(4).to(memory_format=torch.channels_last)  # as frames come
    z = model.encode(x).detach().requires_grad_()
    model.loss_of(z, x, t, noise_like(x)).backward()
    begin, end = (0, 6) if mode != "stop_grad" else (4, 6)  # bin 2 of 4
    reached = z.grad.abs().sum(dim=0) > 0
    assert reached.tolist() == [begin <= number < end for number in range(D)]
    assert all(parameter.grad is None for parameter in unet.parameters())
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in model.modules())
    trained = {id(parameter) for parameter in model.shift.trainable_parameters()}
    assert not trained & {id(parameter) for parameter in unet.parameters()}


def test_one_bin_is_pdae(unet):
    one, x, t = model_of(unet, k=1, stir=True).eval(), pictures(4), torch.tensor([3, 200, 600, 999])
    plain = PDAE(unet, one.encoder, D).eval()
    plain.load_state_dict(one.state_dict())
    torch.testing.assert_close(plain.loss(x, t, noise_like(x)), one.loss(x, t, noise_like(x)), atol=1e-6, rtol=1e-6)
    noisy = LINEAR.q_sample(x, t, noise_like(x))
    residual = noise_like(x) - plain.noise(noisy, t, plain.encode(x))
    wanted = (LINEAR.weight[t].view(-1, 1, 1, 1) * residual.square()).mean()
    torch.testing.assert_close(plain.loss(x, t, noise_like(x)), wanted, atol=1e-6, rtol=1e-6)


def test_wrong_pictures_modes_and_networks_are_refused(unet):
    model = model_of(unet)
    with pytest.raises(ValueError, match=r"x: expected pictures \(B, 3, 16, 16\)"):
        model.encode(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="x: expected finite numbers"):
        model.encode(torch.full((1, 3, 16, 16), torch.nan))
    with pytest.raises(ValueError, match="mode: expected base, stop_grad or dual"):
        model_of(unet, "fast")
    with pytest.raises(ValueError, match="unet: expected an ADMUNet"):
        ShiftUNet(torch.nn.Linear(2, 2), 8)
    with pytest.raises(ValueError, match="direction: expected 8 finite numbers"):
        model.move(pictures(1), torch.zeros(8), 1.0)
    with pytest.raises(ValueError, match="first, last: expected some numbers of 64"):
        Config(first=60, last=10)
    with pytest.raises(ValueError, match="denoiser: expected --set denoiser=RUN"):
        new(Config(), None, 0)


def test_it_learns_to_correct_by_the_vector_and_brings_pictures_back(unet):
    model, x = model_of(unet, "stop_grad"), pictures(8)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 3e-3)
    t, noise = torch.arange(200, 1000, 100), noise_like(x)
    before = float(model.eval().loss(x, t, noise).detach())
    generator = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(50):
        steps = torch.randint(1000, (8,), generator=generator)
        loss = model.loss(x, steps, torch.randn(x.shape, generator=generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    assert float(model.loss(x, t, noise).detach()) < 0.9 * before
    shown = x[:1]
    back = model.reconstruct(shown, steps=25)
    assert float(-10 * torch.log10(((back - shown) / 2).square().mean())) > 18
    z, start = model.encode(shown).detach(), noise_like(shown)
    alike = model.swap(shown, shown, [0, 3], 6, start)
    torch.testing.assert_close(alike, model.decode(start, z, 6), atol=1e-4, rtol=1e-3)
    assert not torch.allclose(model.swap(shown, x[1:2], range(K), 6, start), alike, atol=1e-3)
    assert not torch.allclose(model.move(shown, torch.ones(D), 3.0, 2, 6, start), alike, atol=1e-3)


def test_the_command_tells_shows_and_takes_a_part_of_the_numbers(tmp_path, capsys):
    x = (pictures(24) + 1) / 2
    labels = np.arange(24) % 4
    images = (x * 255).byte().permute(0, 2, 3, 1).numpy()
    frames = Frames(images, np.arange(24), {"corner": labels}, {"corner": ("a", "b", "c", "d")})
    write_frames(frames, tmp_path / "data")
    sizes = DenoiserConfig(resolution=16, channels=8, multipliers=(1, 2), groups=4)
    FeatureEncoder(sizes).save(tmp_path / "denoiser")
    config = Config(str(tmp_path / "denoiser"), latent_dim=8, k=4, channels=8, groups=4)
    encoder = new(config, frames, 0).encoder.eval()
    encoder.save(tmp_path / "run" / "encoder")
    assert load(tmp_path / "run" / "encoder").config.denoiser == ""
    words = ["--encoder", str(tmp_path / "run"), "--data", str(tmp_path / "data"), "--threads", "1"]
    words += ["--output", str(tmp_path / "out")]
    main([*words, "--steps", "4", "--shown", "2", "--column", "corner", "--value", "b", "--take", "6", "8"])
    told = capsys.readouterr().out
    assert "corner by a linear probe" in told
    assert "dB" in told
    assert (tmp_path / "out" / "slices.png").is_file()
    assert (tmp_path / "out" / "moved.png").is_file()
    taken = load_encoder(tmp_path / "out")
    assert taken.width == 2
    np.testing.assert_allclose(embed(taken, frames), embed(encoder, frames)[:, 6:], atol=1e-6)
    assert isinstance(taken, DiTiEncoder)
    assert [bins_of(encoder, part) for part in quarters(8)] == [[0], [1], [2], [3]]
    with pytest.raises(ValueError, match="--value: expected one of a, b, c, d of corner, found 'e'"):
        main([*words[:-1], str(tmp_path / "other"), "--column", "corner", "--value", "e"])
