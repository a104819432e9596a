from __future__ import annotations

import numpy as np
import pytest
import torch

from representation.data.frames import Frames, write_frames
from representation.embedding import embed
from representation.generative.adm_unet import ADMUNet, UNetConfig
from representation.generative.denoiser import LINEAR, train_denoiser
from representation.generative.diffusion_classification import (
    AttentionHead,
    CNNHead,
    Config,
    DiffusersAdapter,
    FeatureEncoder,
    FeedbackAdapter,
    FeedbackHead,
    FusionHead,
    HeadTraining,
    LinearHead,
    MLPHead,
    extract,
    fit_head,
    linear_cka,
    open_denoiser,
    scan,
)
from representation.generative.diffusion_classification.features import block_shapes, middle_of_the_way_up
from representation.generative.diffusion_classification.fit import head_accuracy
from representation.generative.scan_features import main
from representation.registry import load_encoder

SIZES = UNetConfig(8, 8, (1, 2), 1, (4,), 8, 3, 3, groups=4)
SYSTEM_SIZES = {"resolution": 8, "channels": 8, "multipliers": (1, 2), "attention": (4,), "groups": 4}


def corners(count=24, side=8):
    """Pictures (N, 3, S, S) in [-1, 1] of a bright square in one of four corners, and which."""
    rng = np.random.default_rng(0)
    x, y = -1 + 0.1 * rng.random((count, 3, side, side)), np.arange(count) % 4
    half = side // 2
    for picture, label in zip(x, y, strict=True):
        row, column = divmod(int(label), 2)
        picture[:, row * half : (row + 1) * half, column * half : (column + 1) * half] = rng.random((3, 1, 1))
    return torch.from_numpy(x).float(), y


def networks():
    """Both kinds, with no convolution left at zero."""
    generator = torch.Generator().manual_seed(0)
    found = [ADMUNet(SIZES), DiffusersAdapter.from_sizes(SIZES)]
    with torch.no_grad():
        for network in found:
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return [network.eval().requires_grad_(False) for network in found]


@pytest.fixture(scope="module")
def unets():
    return networks()


def test_both_kinds_number_their_blocks_alike(unets):
    first, second = (block_shapes(unet) for unet in unets)
    assert first == second == dict(enumerate([(8, 8)] * 2 + [(8, 4)] + [(16, 4)] * 3 + [(16, 8)] + [(8, 8)] * 2, 1))
    assert unets[0].level_starts == unets[1].level_starts == (2, 4)
    assert middle_of_the_way_up(unets[0]) == 6


def test_features_are_what_hooks_see_in_a_whole_pass(unets):
    x, noise = corners(2)[0], torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    noisy, steps = LINEAR.q_sample(x, torch.tensor([90, 90]), noise.expand_as(x)), torch.tensor([90, 90])
    for unet in unets:
        seen = []
        if isinstance(unet, ADMUNet):
            modules = [*unet.input_blocks, unet.middle_block, *unet.output_blocks]
        else:
            (down, lower), (up, upper) = unet.model.down_blocks, unet.model.up_blocks
            modules = [unet.model.conv_in, down.resnets[0], down.downsamplers[0], lower.attentions[0]]
            modules += [unet.model.mid_block, up.attentions[0], up.upsamplers[0], *upper.resnets]
        hooks = [module.register_forward_hook(lambda m, i, out, seen=seen: seen.append(out)) for module in modules]
        unet(noisy, steps)
        for hook in hooks:
            hook.remove()
        found = extract(unet, x, 90, range(1, 10), noise)
        assert len(seen) == 9
        assert all(torch.equal(found[number], h) for number, h in enumerate(seen, start=1))


def test_a_pass_ends_at_the_last_block_that_is_asked_for(unets):
    unet, x = unets[0], corners(2)[0]
    called = []
    hooks = [stage.register_forward_hook(lambda m, i, out: called.append(m)) for stage in unet.output_blocks]
    early = extract(unet, x, 90, [3, 6])
    for hook in hooks:
        hook.remove()
    assert called == [unet.output_blocks[0]]
    whole = extract(unet, x, 90, range(1, 10))
    assert all(torch.equal(early[number], whole[number]) for number in (3, 6))


def test_a_generator_repeats_itself_and_light_noise_changes_less(unets):
    unet, x = unets[0], corners(3)[0]
    first, again = (extract(unet, x, 90, [6], torch.Generator().manual_seed(3))[6] for _ in range(2))
    assert torch.equal(first, again)
    generator = torch.Generator().manual_seed(0)

    def spread(t, n=1):
        draws = torch.stack([extract(unet, x, t, [6], generator, n)[6] for _ in range(12)])
        return float(draws.var(dim=0).mean())

    assert spread(10) < spread(100) < spread(400)
    assert spread(100, 4) / spread(100) == pytest.approx(0.25, abs=0.1)


def test_without_a_generator_a_picture_does_not_mind_its_neighbours(unets):
    x = corners(5)[0]
    for unet in unets:
        together = extract(unet, x, 200, [6], n_noise=2)[6]
        alone = extract(unet, x[3:4], 200, [6], n_noise=2)[6]
        torch.testing.assert_close(together[3:4], alone, atol=1e-5, rtol=1e-4)


def test_what_cannot_be_extracted_is_refused(unets):
    x = corners(2)[0]
    with pytest.raises(ValueError, match=r"blocks: expected some from 1 to 9, found \[10\]"):
        extract(unets[0], x, 90, [10])
    with pytest.raises(ValueError, match="t: expected a step from 0 to 999"):
        extract(unets[0], x, -1, [1])
    with pytest.raises(ValueError, match=r"x: expected pictures \(B, 3, 8, 8\)"):
        extract(unets[0], torch.zeros(2, 3, 16, 16), 90, [1])
    with pytest.raises(ValueError, match="x: expected finite numbers"):
        extract(unets[0], x * torch.nan, 90, [1])
    with pytest.raises(ValueError, match="noise: expected draws"):
        extract(unets[0], x, 90, [1], noise=torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match="n_noise: expected at least 1"):
        extract(unets[0], x, 90, [1], n_noise=0)


def test_likeness_is_one_after_a_rotation_and_a_scale_and_small_by_chance():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 20))
    turned = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    assert linear_cka(x, x @ turned) == pytest.approx(1, abs=1e-6)
    assert linear_cka(x, 7 * x + 3) == pytest.approx(1, abs=1e-6)
    other = rng.normal(size=(2000, 20))
    assert linear_cka(x, other) < 0.1
    wide = rng.normal(size=(12, 40))
    centred = wide - wide.mean(axis=0), x[:12] - x[:12].mean(axis=0)
    products = [np.linalg.norm(a.T @ b) for a, b in ((centred[1], centred[0]), (centred[0],) * 2, (centred[1],) * 2)]
    assert linear_cka(wide, x[:12]) == pytest.approx(products[0] ** 2 / (products[1] * products[2]))
    with pytest.raises(ValueError, match=r"X, Y: expected \(N, D\) and \(N, E\)"):
        linear_cka(x, other[:3])
    with pytest.raises(ValueError, match="expected features that differ"):
        linear_cka(x, np.ones((2000, 2)))


def test_a_scan_ranks_every_choice_and_refuses_labels_that_cannot_be_learned(unets):
    x, y = corners()
    rows = scan(unets[0], x, y, (10, 300), (1, 6), (1, 2))
    assert len(rows) == 8
    assert {row.t for row in rows} == {10, 300}
    assert len({(row.t, row.block, row.pool) for row in rows}) == 8
    scores = [row.accuracy for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert rows[0].pool == 2
    assert rows[0].accuracy > 0.9
    places = np.stack([y // 2, y % 2], axis=1).astype(float)
    assert scan(unets[0], x, places, (10,), (1,), (2,))[0].accuracy > 0.8
    with pytest.raises(ValueError, match=r"y: expected at least two classes with 3 labels each, found \{0: 24\}"):
        scan(unets[0], x, np.zeros(24, int), (10,), (1,), (2,))
    with pytest.raises(ValueError, match="y: expected at least 3 finite numbers"):
        scan(unets[0], x, np.full(24, np.nan), (10,), (1,), (2,))


def test_every_head_learns_and_none_trains_the_network(unets):
    x, y = corners()
    labels, training = torch.from_numpy(y), HeadTraining(epochs=12, lr=1e-2, batch=8)
    for unet in unets:
        before = [parameter.clone() for parameter in unet.parameters()]
        features = {(t, b): extract(unet, x, t, [b])[b] for t in (10, 90) for b in (5, 6)}
        single = features[10, 6]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            heads = {
                "linear": (LinearHead(16, 2, 4), single),
                "mlp": (MLPHead(16, 2, 4, (16,)), single),
                "cnn": (CNNHead(16, 4, 16), single),
                "attention": (AttentionHead(16, 4, 16, 2, 1, side=4), single),
                "batch": (AttentionHead(16, 4, 16, 2, 1, side=4, norm="batch"), single),
                "fusion": (FusionHead({5: 16, 6: 16}, (10, 90), 4, 16, 2, 1, side=2), features),
            }
            heads["feedback"] = (FeedbackHead(unet, FeedbackAdapter(unet), LinearHead(16, 2, 4), 10, 6), x)
        for name, (head, inputs) in heads.items():
            trained = [parameter for parameter in head.parameters() if parameter.requires_grad]
            assert trained
            assert not {id(p) for p in trained} & {id(p) for p in unet.parameters()}
            if unet is unets[1] and name not in ("fusion", "feedback"):
                continue
            fit_head(head, inputs, labels, training, seed=0)
            if name != "batch":  # places are not told to attention but by the norm over them
                assert head_accuracy(head, inputs, labels) > 0.6, name
        assert all(torch.equal(a, b) for a, b in zip(before, unet.parameters(), strict=True))


def test_the_recipe_of_the_paper_lowers_its_step_four_times(unets):
    x, y = corners()
    head = LinearHead(16, 2, 4)
    torch.nn.init.zeros_(head.layer.weight)
    features = extract(unets[0], x, 10, [6])[6]
    fit_head(head, features, torch.from_numpy(y), HeadTraining("sgd", 12, 0.5, 8), seed=0)
    assert head_accuracy(head, features, torch.from_numpy(y)) > 0.6
    with pytest.raises(ValueError, match="labels: expected 24 of at least two classes"):
        fit_head(head, features, torch.zeros(24, dtype=torch.long), HeadTraining(), 0)
    with pytest.raises(ValueError, match="inputs: expected finite numbers"):
        fit_head(head, features * torch.nan, torch.from_numpy(y), HeadTraining(), 0)


def test_feedback_that_adds_nothing_is_one_pass_and_goes_to_the_mirrored_blocks(unets):
    x = corners(3)[0]
    for unet in unets:
        adapter = FeedbackAdapter(unet).eval()
        assert adapter.blocks == (8, 6)
        assert [tuple(m[0].weight.shape[:2]) for m in adapter.maps.values()] == [(8, 8), (16, 16)]
        second = adapter(unet, x, 90, 6)
        assert not torch.allclose(second, extract(unet, x, 90, [6])[6])
        second.sum().backward()
        assert all(parameter.grad is not None for parameter in adapter.parameters())
        with torch.no_grad():
            for mapping in adapter.maps.values():
                mapping[0].weight.zero_()
        assert torch.equal(adapter(unet, x, 90, 6), extract(unet, x, 90, [6])[6])
    with pytest.raises(ValueError, match="blocks: expected some from 6 to 9"):
        FeedbackAdapter(unets[0], [5])
    with pytest.raises(ValueError, match="noise: expected draws"):
        FeedbackAdapter(unets[0]).eval()(unets[0], x, 90, 6, torch.Generator())


def test_fusion_wants_all_steps_and_blocks():
    head = FusionHead({5: 4}, (10, 90), 2, 8, 2, 1, side=2)
    with pytest.raises(ValueError, match=r"expected those of steps and blocks \[\(90, 5\)\]"):
        head({(10, 5): torch.zeros(1, 4, 2, 2)})
    with pytest.raises(ValueError, match="blocks, times: expected at least one"):
        FusionHead({}, (10,), 2)


@pytest.mark.parametrize("kind", ["adm", "diffusers"])
def test_an_encoder_of_either_kind_comes_back_equal(kind, tmp_path):
    encoder = FeatureEncoder(Config(**SYSTEM_SIZES, kind=kind, t=50, pool=1, draws=2), seed=3).eval()
    encoder.save(tmp_path)
    again = open_denoiser(tmp_path)
    images = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert encoder.encode(images).shape == (3, encoder.width) == (3, 16)
        assert torch.equal(again.encode(images), encoder.encode(images))
        features, saliency = again.dense(images)
    assert features.shape == (3, 16, 4, 4)
    assert saliency.shape == (3, 4, 4)
    assert saliency.min() >= 0
    elsewhere = again.reading(300, 9, 2)
    assert (elsewhere.width, elsewhere.block, elsewhere.unet is again.unet) == (32, 9, True)


def test_networks_of_others_are_opened_and_other_things_refused(tmp_path):
    adapter = DiffusersAdapter.from_sizes(SIZES)
    adapter.save(tmp_path / "theirs")
    encoder = open_denoiser(tmp_path / "theirs")
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert encoder.encode(images).shape == (2, 64)
    encoder.save(tmp_path / "ours")
    assert torch.equal(load_encoder(tmp_path / "ours").encode(images), encoder.encode(images))
    with pytest.raises(FileNotFoundError):
        open_denoiser(tmp_path)
    with pytest.raises(ValueError, match="expected a UNet2DModel"):
        DiffusersAdapter.from_directory(tmp_path)
    with pytest.raises(ValueError, match="block: expected one from 1 to 9, found 12"):
        FeatureEncoder(Config(**SYSTEM_SIZES, block=12))
    with pytest.raises(ValueError, match="kind: expected adm or diffusers"):
        Config(kind="vae")


def test_the_command_finds_features_writes_an_encoder_and_trains_every_head(tmp_path, capsys):
    x, y = corners(60)
    images = ((x.permute(0, 2, 3, 1).numpy() + 1) * 127).clip(0, 255).astype(np.uint8)
    frames = Frames(images, np.arange(60), {"label": y + 5})
    write_frames(frames, tmp_path / "data")
    encoder = FeatureEncoder(Config(**SYSTEM_SIZES))
    train_denoiser(encoder.unet, x, 20, seed=0, batch=8)
    encoder.save(tmp_path / "run" / "encoder")
    words = ["--denoiser", str(tmp_path / "run"), "--data", str(tmp_path / "data"), "--output", str(tmp_path / "out")]
    words += ["--labels", "20", "--times", "10", "200", "--pools", "1", "2", "--threads", "1", "--training.epochs", "2"]
    words += ["--heads", "linear", "mlp", "cnn", "attention", "fusion", "feedback", "--against", str(tmp_path / "run")]
    main(words)
    told = capsys.readouterr().out
    assert "label from 20 labels" in told
    assert "on 40 other frames" in told
    assert embed(load_encoder(tmp_path / "out"), frames).shape == (60, load_encoder(tmp_path / "out").width)
    assert len((tmp_path / "out" / "scan.csv").read_text().splitlines()) == 1 + 2 * 5 * 2
    assert (tmp_path / "out" / "scan.png").is_file()
    assert str(tmp_path / "run") in (tmp_path / "out" / "cka.csv").read_text().splitlines()[0]
    assert len(list((tmp_path / "out" / "heads").glob("*.safetensors"))) == 6
    with pytest.raises(SystemExit, match="--output"):
        main(words)
