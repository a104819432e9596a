from __future__ import annotations

import pytest
import torch

from representation.generative.adm_unet import ADMUNet, UNetConfig, load_released, waves
from representation.generative.denoiser import LINEAR, GaussianDiffusion, denoising_loss, train_denoiser

SIZES = UNetConfig(8, 8, (1, 2), 1, (4,), 8, 1, 1, groups=4)


def pictures(count=16, side=8):
    """A bright square in one of four corners."""
    x = torch.full((count, 1, side, side), -1.0)
    for number in range(count):
        row, column = divmod(number % 4, 2)
        x[number, 0, row * 4 + 1 : row * 4 + 4, column * 4 + 1 : column * 4 + 4] = 1
    return x


def stirred(network, seed=0):
    """The network with no convolution left at zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def test_noisy_pictures_of_unit_variance_have_unit_variance_at_every_step():
    generator = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(100, 1, 50, 50, generator=generator) for _ in range(2))
    for t in (0, 10, 100, 500, 999):
        assert float(LINEAR.q_sample(x, torch.full((100,), t), noise).var()) == pytest.approx(1, abs=0.01)
    total = LINEAR.q_sample(torch.ones(1000, 1, 1, 1), torch.arange(1000), torch.zeros(1000, 1, 1, 1)).flatten() ** 2
    torch.testing.assert_close(total, LINEAR.abar, atol=1e-6, rtol=1e-5)


def test_corrections_and_weights_are_those_of_the_paper():
    steps = [0, 1, 10, 100, 500, 999]
    found = [0.0, -0.00674, -0.0405, -0.3177, -0.9547, -0.9899]
    assert LINEAR.shift_coef[steps].tolist() == pytest.approx(found, abs=1e-4)
    found = [0.00025, 0.0040, 0.130, 0.720, 0.364]
    assert LINEAR.weight[[0, 10, 100, 500, 999]].tolist() == pytest.approx(found, abs=1e-3)
    assert float(LINEAR.weight[0]) == pytest.approx(0.00025, abs=1e-5)


def test_sampling_undoes_inversion_where_the_noise_is_linear_in_the_picture():
    x = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def of_normal_pictures(x, t):
        return x * (1 - LINEAR.abar.double()[t]).sqrt().view(-1, 1, 1, 1)

    start = LINEAR.ddim_invert(of_normal_pictures, x, 200, corrections=3)
    torch.testing.assert_close(LINEAR.ddim_sample(of_normal_pictures, start, 200, clip=False), x, atol=1e-4, rtol=0)
    rough = LINEAR.ddim_invert(of_normal_pictures, x, 200, corrections=0)
    assert (LINEAR.ddim_sample(of_normal_pictures, rough, 200, clip=False) - x).abs().max() > 1e-4


def test_sampling_finds_the_only_picture_there_is_and_stays_in_range():
    only = pictures(1) * 0.5

    def predict(x, t):
        abar = LINEAR.abar[t].view(-1, 1, 1, 1)
        return (x - abar.sqrt() * only) / (1 - abar).sqrt()

    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(LINEAR.ddim_sample(predict, x, 20), only.expand(2, -1, -1, -1), atol=1e-3, rtol=0)
    assert LINEAR.ddim_sample(lambda x, t: -3 * x, x, 20).abs().max() <= 1


def test_other_numbers_of_steps_end_as_noisy_and_wrong_ones_are_refused():
    assert float(GaussianDiffusion(100).abar[-1]) == pytest.approx(float(LINEAR.abar[-1]), abs=1e-4)
    with pytest.raises(ValueError, match="T, beta: expected variances"):
        GaussianDiffusion(10)
    with pytest.raises(ValueError, match="t: expected a step from 0 to 999, found 1000"):
        LINEAR.check(1000)
    with pytest.raises(ValueError, match="steps: expected at least 2"):
        LINEAR.steps(1)


def test_a_new_network_tells_no_noise_and_learns_to():
    network, x = ADMUNet(SIZES), pictures()
    noise, t = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)), torch.arange(0, 960, 60)
    assert not network(x, t).any()
    before = float(denoising_loss(network, x, t, noise).detach())
    train_denoiser(network, x, 60, seed=0, batch=16, lr=3e-3)
    assert float(denoising_loss(network, x, t, noise).detach()) < 0.6 * before
    with pytest.raises(ValueError, match=r"x: expected finite numbers in \[-1, 1\]"):
        train_denoiser(network, 2 * x, 1, seed=0)


def test_blocks_are_numbered_as_in_the_paper():
    with torch.device("meta"):
        toy = ADMUNet(UNetConfig(32, 32, (1, 2, 2), 2, ()))
        found = [(h.shape[1], h.shape[3]) for _, h in toy.walk(torch.zeros(1, 3, 32, 32), torch.zeros(1))]
    assert [channels for channels, _ in found] == [32] * 4 + [64] * 12 + [32] * 3
    assert [side for _, side in found] == [32] * 3 + [16] * 3 + [8] * 6 + [16] * 3 + [32] * 4
    assert toy.level_starts == (2, 5, 8)


def test_the_released_network_has_37_blocks_and_the_names_of_its_file():
    from representation.generative.adm_unet import RELEASED_256

    with torch.device("meta"):
        network = ADMUNet(RELEASED_256)
        found = [(h.shape[1], h.shape[3]) for _, h in network.walk(torch.zeros(1, 3, 256, 256), torch.zeros(1))]
    channels = [256] * 7 + [512] * 6 + [1024] * 12 + [512] * 6 + [256] * 6
    sides = [256] * 3 + [128] * 3 + [64] * 3 + [32] * 3 + [16] * 3 + [8] * 6 + [16] * 3 + [32] * 3 + [64] * 3
    assert found == list(zip(channels, [*sides, 128, 128, 128, 256, 256, 256, 256], strict=True))
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes["time_embed.0.weight"] == (1024, 256)
    assert shapes["input_blocks.10.1.qkv.weight"] == (1536, 512, 1)
    assert shapes["input_blocks.7.0.skip_connection.weight"] == (512, 256, 1, 1)
    assert shapes["middle_block.2.emb_layers.1.weight"] == (2048, 1024)
    assert shapes["output_blocks.2.2.out_layers.3.weight"] == (1024, 1024, 3, 3)
    assert shapes["output_blocks.2.1.norm.weight"] == (1024,)
    assert shapes["out.2.weight"] == (6, 256, 3, 3)
    assert {name.split(".")[0] for name in shapes} == {
        "time_embed",
        "input_blocks",
        "middle_block",
        "output_blocks",
        "out",
    }


def test_released_weights_come_back_and_others_are_refused(tmp_path):
    from safetensors.torch import save_file

    network = stirred(ADMUNet(SIZES))
    save_file(network.state_dict(), tmp_path / "released.safetensors")
    x, t = pictures(2), torch.tensor([5, 700])
    assert torch.equal(load_released(tmp_path / "released.safetensors", SIZES)(x, t), network(x, t))
    with pytest.raises(ValueError, match=r"released\.safetensors: expected the weights of a U-Net"):
        load_released(tmp_path / "released.safetensors", UNetConfig(8, 8, (1, 2), 2, (4,), 8, 1, 1, groups=4))


def test_heads_come_before_queries_keys_and_values():
    from representation.generative.adm_unet import AttentionBlock

    block = stirred(AttentionBlock(16, 8, 4))
    x = torch.randn(1, 16, 2, 2, generator=torch.Generator().manual_seed(0))
    qkv = block.qkv(block.norm(x.flatten(2)))[0]
    parts = []
    for head in range(2):
        q, k, v = qkv[24 * head : 24 * (head + 1)].split(8)
        parts.append(v @ torch.softmax(q.T @ k / 8**0.5, dim=1).T)
    wanted = x.flatten(2) + block.proj_out(torch.cat(parts)[None])
    torch.testing.assert_close(block(x), wanted.view_as(x), atol=1e-5, rtol=1e-5)


def test_steps_are_told_by_cosines_and_then_sines():
    found = waves(torch.tensor([3]), 4)[0]
    wanted = torch.tensor([3.0, 0.03])
    torch.testing.assert_close(found, torch.cat([wanted.cos(), wanted.sin()]))


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="channels: expected a multiple of 32 groups, found 24"):
        UNetConfig(channels=24)
    with pytest.raises(ValueError, match="resolution: expected a multiple of 4, found 30"):
        UNetConfig(resolution=30)
    with pytest.raises(ValueError, match="multipliers, depth"):
        UNetConfig(depth=0)
