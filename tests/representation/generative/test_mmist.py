import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F  # noqa: N812

from representation.data.frames import Frames, as_pixels
from representation.generative.mmist import (
    AdaAttN,
    CrossModalInverter,
    Look,
    MMISTConfig,
    RestyleOptions,
    StyleAugment,
    StyleSpec,
    StyleTransferNet,
    VGGEncoder,
    directional_loss,
    edge_f1,
    load,
    load_looks,
    save_looks,
)
from representation.generative.mmist.directions import text_direction
from representation.generative.mmist.edges import flicker
from representation.generative.mmist.guided_filter import guided_filter
from representation.generative.mmist.patches import homographies, random_patches
from representation.generative.mmist.style_transfer import Tokens, attended, key_features, mvn
from representation.generative.mmist.texture_generator import TextureGenerator
from representation.generative.mmist.textures import draw_texture
from representation.generative.mmist.train import TrainSettings, train_mmist
from representation.generative.mmist.transfer_loss import TransferWeights, local_target, transfer_loss

WIDTHS = (4, 4, 6, 8, 8)
CONFIG = MMISTConfig(
    widths=WIDTHS,
    style_side=32,
    work_side=32,
    generator_width=8,
    w_dim=8,
    n_patches=4,
    crop=16,
    steps=2,
    n_candidates=3,
)


def drawn(*shape, seed=0, dtype=torch.float32):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def new_net(max_sample=4096):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = StyleTransferNet(widths=WIDTHS, max_sample=max_sample).eval()
    net.encoder.normalise(drawn(4, 3, 32, 32))
    return net


@pytest.fixture(scope="module")
def model():
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    settings = TrainSettings(textures=12, encoder_steps=1, generator_steps=1, clip_steps=1, transfer_steps=2, batch=4)
    return train_mmist(Frames(images, np.arange(12)), CONFIG, settings, seed=0)


def test_a_style_given_twice_is_the_style_and_the_order_of_styles_is_of_no_matter():
    content, first, second = (
        drawn(*shape, seed=seed, dtype=torch.float64)
        for seed, shape in enumerate(((2, 3, 40, 36), (1, 3, 32, 48), (1, 3, 32, 32)))
    )
    for max_sample in (4096, 20):
        net = new_net(max_sample).double()
        with torch.no_grad():
            once, twice = net(content, [first]), net(content, [first, first])
            both, turned = net(content, [first, second]), net(content, [second, first])
        assert once.shape == content.shape
        assert (once - twice).abs().max() < 1e-4
        assert (both - turned).abs().max() < 1e-4
        assert (both - once).abs().max() > 1e-3


def test_without_keys_the_block_gives_mean_and_deviation_of_the_values():
    block = AdaAttN(8, 12)
    for layer in (block.f, block.g):
        nn.init.zeros_(layer.weight)
    content, style = torch.randn(1, 8, 16, 16), 3 * torch.randn(1, 8, 10, 10) + 1
    with torch.no_grad():
        out = block(content, style, torch.randn(1, 12, 16, 16), torch.randn(1, 12, 10, 10))
        values = block.h(style)
    variance, mean = torch.var_mean(values, dim=(2, 3), correction=0)
    found_variance, found_mean = torch.var_mean(out, dim=(2, 3), correction=0)
    assert (found_mean - mean).abs().max() < 1e-3
    assert (found_variance.sqrt() / variance.sqrt() - 1).abs().max() < 3e-3  # of 256 places, of which one is lost
    assert (found_variance.sqrt() * (256 / 255) ** 0.5 - variance.sqrt()).abs().max() < 1e-3


def test_sharp_keys_give_an_image_back_to_itself():
    features = torch.randn(1, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    keys = F.normalize(torch.randn(1, 32, 6, 6, generator=torch.Generator().manual_seed(1)), dim=1)
    tokens = Tokens(1000 * keys.flatten(2), features.flatten(2).mT)
    assert (attended(features, keys, tokens) - features).abs().max() < 1e-2
    flat = torch.ones(1, 8, 6, 6, requires_grad=True)
    attended(flat, keys, Tokens(keys.flatten(2), flat.flatten(2).mT)).sum().backward()
    assert torch.isfinite(flat.grad).all()


def test_keys_are_normalised_features_of_all_levels_below():
    with torch.no_grad():
        levels = new_net().encoder.levels(drawn(1, 3, 48, 32))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (4, 48, 32), (4, 24, 16), (6, 12, 8), (8, 6, 4), (8, 3, 2),
    ]  # fmt: skip
    key = key_features(levels, 3)
    assert key.shape == (1, 14, 12, 8)
    assert torch.equal(key[:, :4], mvn(levels[0][:, :, ::4, ::4]))
    normal = mvn(3 + 2 * drawn(2, 6, 5, 5))
    assert torch.allclose(normal.var(dim=(2, 3)), torch.ones(2, 6), atol=1e-3)
    assert normal.mean(dim=(2, 3)).abs().max() < 1e-5


def test_full_size_layers_are_named_as_the_released_ones_are():
    with torch.device("meta"):
        state = StyleTransferNet().state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    assert shapes["encoder.0.weight"] == (3, 3, 1, 1)
    assert shapes["encoder.2.weight"] == (64, 3, 3, 3)
    assert shapes["encoder.29.weight"] == (512, 256, 3, 3)
    assert shapes["encoder.42.weight"] == (512, 512, 3, 3)
    assert shapes["adaattn_3.f.weight"] == (448, 448, 1, 1)
    assert shapes["transformer.attn_adain_4_1.g.weight"] == (960, 960, 1, 1)
    assert shapes["transformer.attn_adain_5_1.f.weight"] == (1472, 1472, 1, 1)
    assert shapes["transformer.merge_conv.weight"] == (512, 512, 3, 3)
    assert shapes["decoder.decoder_layer_1.1.weight"] == (256, 512, 3, 3)
    assert shapes["decoder.decoder_layer_2.1.weight"] == (256, 512, 3, 3)
    assert shapes["decoder.decoder_layer_2.24.weight"] == (3, 64, 3, 3)


def test_normalised_layers_have_a_mean_of_1_and_the_same_pictures_in_other_units():
    encoder, images = VGGEncoder(WIDTHS), drawn(4, 3, 32, 32)
    for layer in encoder:
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            nn.init.normal_(layer.bias, std=0.1)
    with torch.no_grad():
        before = encoder.levels(images)
        encoder.normalise(images)
        after = encoder.levels(images)
    for one, other in zip(before, after, strict=True):
        mean = one.mean(dim=(0, 2, 3), keepdim=True)
        loud = (mean > 0.1 * mean.mean()).flatten()
        assert torch.allclose(other.mean(dim=(0, 2, 3))[loud], torch.ones(int(loud.sum())), rtol=1e-3)
        assert torch.allclose((one / mean)[:, loud], other[:, loud], rtol=1e-3, atol=1e-3)


def test_equal_directions_lose_nothing_and_opposite_ones_two():
    unit = F.normalize(torch.randn(1, 6, dtype=torch.float64), dim=1)
    for mode in ("pairwise", "mean", "bidirectional"):
        assert abs(float(directional_loss(unit, unit, mode))) < 1e-6
        assert float(directional_loss(unit, -unit, mode)) == pytest.approx(2, abs=1e-6)
    axes = torch.eye(2, dtype=torch.float64)
    assert float(directional_loss(axes, axes)) == pytest.approx(0.5)  # half of the pairs agree
    assert float(directional_loss(axes, axes, "mean")) == pytest.approx(1 - 0.5**0.5)
    assert float(directional_loss(axes, axes[:1], threshold=1.5)) == 0
    with pytest.raises(ValueError, match="mode: expected pairwise"):
        directional_loss(axes, axes, "all")
    with pytest.raises(ValueError, match=r"expected \(P, E\) and \(Q, E\)"):
        directional_loss(axes, axes[0])


def test_text_features_are_averaged_before_they_are_normalised():
    table = {"x": [3.0, 0.0], "of x": [0.0, 1.0], "a photo": [0.0, 1.0], "of a photo": [0.0, 3.0]}
    found = text_direction("x", lambda texts: torch.tensor([table[text] for text in texts]), ("{}", "of {}"))
    wanted = torch.tensor([[3.0, 1.0]]) / 10**0.5 - torch.tensor([[0.0, 1.0]])
    assert torch.allclose(found, F.normalize(wanted, dim=1))


class SmoothGenerator:
    z_dim = 4

    def mapping(self, z):
        return z[:, None].expand(-1, 2, -1)

    def synthesis(self, ws):
        wave = torch.linspace(0, 3, 16, dtype=ws.dtype)
        return (torch.sin(ws[:, 0, :3, None, None] * wave) * torch.cos(ws[:, 1, :3, None, None] * wave[:, None])) * 0.9


def small_inverter(**options):
    weight = torch.randn(5, 3 * 8 * 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    texts = dict(zip(("a photo", "x"), torch.eye(5, dtype=torch.float64), strict=False))
    return CrossModalInverter(
        SmoothGenerator(),
        lambda images: F.normalize(F.adaptive_avg_pool2d(images.to(weight), 8).flatten(1) @ weight.T, dim=1),
        lambda names: torch.stack([texts[name] for name in names]),
        **({"n_patches": 4, "crop": 8, "steps": 30, "n_candidates": 8, "side": None, "templates": ("{}",)} | options),
    )


def test_the_gradient_of_the_loss_is_that_of_finite_differences():
    inverter, spec = small_inverter(), StyleSpec({"x": 2.0}, [(drawn(3, 16, 16, seed=3, dtype=torch.float64), 1.0)])
    target, origin = inverter.target(spec), inverter.image_encoder(drawn(1, 3, 8, 8, seed=4))

    def loss(ws):
        generator = torch.Generator().manual_seed(0)
        styles = [inverter.seen(image, generator) for image, _ in target.images]
        return inverter.loss(inverter.seen(inverter.picture(ws), generator), origin, target, styles)

    ws = torch.randn(1, 2, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(ws), ws)
    for place in ((0, 0, 1), (0, 1, 2)):
        step = torch.zeros_like(ws)
        step[place] = 1e-6
        difference = float((loss(ws + step) - loss(ws - step)).detach() / 2e-6)
        assert float(gradient[place]) == pytest.approx(difference, rel=1e-3)


def test_inversion_lowers_the_loss_and_repeats_itself_under_a_seed():
    contents, spec = drawn(3, 3, 8, 8), StyleSpec({"x": 1.0}, [(drawn(3, 20, 24, seed=7), 1.0)])
    found = small_inverter(n_patches=16, start="random").invert_once(StyleSpec({"x": 1.0}), contents[:1], seed=1)
    assert len(found.losses) == 31
    assert np.mean(found.losses[-10:]) < np.mean(found.losses[:5])
    for options in ({"start": "patches", "redraw": True, "mode": "bidirectional"}, {"mode": "mean"}):
        found = small_inverter(steps=2, **options).invert_once(spec, contents, seed=1)
        assert np.isfinite(found.losses).all()
        assert not torch.equal(found.latents, found.start)
    pictures = [small_inverter(steps=1).invert(spec, contents, n=2, seed=seed) for seed in (0, 0, 1)]
    assert pictures[0].shape == (2, 3, 16, 16)
    assert torch.allclose(pictures[0], pictures[1])
    assert not torch.allclose(pictures[0], pictures[2])
    assert not torch.allclose(pictures[0][0], pictures[0][1])


def test_patches_without_distortion_are_crops_and_others_have_black_corners():
    image = drawn(1, 3, 16, 16) + 0.1
    whole = random_patches(image, 2, 16, 16, torch.Generator().manual_seed(0), distortion=0.0)
    assert torch.allclose(whole, image.expand(2, -1, -1, -1), atol=1e-5)
    crop = random_patches(image, 1, 8, 8, torch.Generator().manual_seed(0), distortion=0.0)
    places = image.unfold(2, 8, 1).unfold(3, 8, 1)[0].permute(1, 2, 0, 3, 4)
    assert (places - crop[0]).abs().amax(dim=(2, 3, 4)).min() < 1e-5
    warped = random_patches(image, 8, 16, 16, torch.Generator().manual_seed(0))
    assert (warped[:, :, 0, 0] == 0).all(dim=1).float().mean() > 0.7
    start, end = drawn(1, 4, 2, dtype=torch.float64), drawn(1, 4, 2, seed=1, dtype=torch.float64)
    mapped = torch.cat([start, torch.ones(1, 4, 1)], dim=2) @ homographies(start, end).mT
    assert torch.allclose(mapped[..., :2] / mapped[..., 2:], end)
    with pytest.raises(ValueError, match="of at least 17 pixels"):
        random_patches(image, 1, 17, 8, torch.Generator())


def test_styles_that_are_none_are_refused():
    for wrong in ({}, {"texts": {"x": -1.0}}, {"texts": {"x": 0.0}}, {"texts": {" ": 1.0}}):
        with pytest.raises(ValueError, match="style: expected"):
            StyleSpec(**wrong)
    for image in (torch.rand(1, 8, 8), 2 * torch.ones(3, 8, 8), torch.full((3, 8, 8), torch.nan)):
        with pytest.raises(ValueError, match="style: expected images"):
            StyleSpec({}, [(image, 1.0)])
    with pytest.raises(ValueError, match="expected pictures of more than one colour, found 1"):
        new_net().tokens([torch.full((1, 3, 32, 32), 0.5)])
    with pytest.raises(ValueError, match="at least 32 pixels"):
        new_net().encoder.levels(torch.rand(1, 3, 16, 32))


def test_the_local_target_is_the_content_where_the_style_is_the_content():
    net, content = new_net(), drawn(2, 3, 32, 32)
    with torch.no_grad():
        levels = net.encoder.levels(content)
    for level in (2, 4):
        target = local_target(levels, levels, level)
        assert target.shape == levels[level - 1].shape
    loss, made = transfer_loss(net, content, drawn(2, 3, 32, 32, seed=1), TransferWeights(content=1.0))
    loss.backward()
    assert made.shape == content.shape
    assert all(p.grad is None for p in net.encoder.parameters())
    assert all(torch.isfinite(p.grad).all() for p in net.decoder.parameters())
    assert torch.isfinite(net.adaattn_3.f.weight.grad).all()
    assert net.adaattn_3.h.weight.grad.abs().max() > 0


def test_guided_pictures_have_the_edges_of_their_guide():
    guide = drawn(1, 3, 12, 14, dtype=torch.float64)
    mixed = torch.einsum("bchw,dc->bdhw", guide, torch.tensor([[0.5, -1, 0.2], [0, 2, 0.1]]).double()) + 0.3
    assert torch.allclose(guided_filter(guide, mixed, 2, 1e-12), mixed, atol=1e-6)
    step = torch.zeros(1, 3, 16, 16)
    step[..., 8:] = 1
    blurred = F.avg_pool2d(F.pad(step, (2, 2, 2, 2), mode="replicate"), 5, 1)
    assert (guided_filter(step, blurred, 4)[..., 7:9].diff(dim=-1) > 2 * blurred[..., 7:9].diff(dim=-1)).all()
    with pytest.raises(ValueError, match="less than H and W"):
        guided_filter(guide, mixed, 12)


def test_edges_are_compared_whatever_the_colours():
    image = np.full((48, 48, 3), 60, np.uint8)
    image[12:30, 14:36] = (200, 40, 40)
    assert edge_f1(image, image) == 1
    assert edge_f1(image, 255 - image) == 1
    assert edge_f1(image, np.roll(image, 1, axis=1)) > 0.9
    assert edge_f1(image, np.roll(image, 6, axis=0)) < 0.6
    assert edge_f1(image, np.full_like(image, 90)) == 0
    moved = np.stack([image, np.roll(image, 3, axis=1)])
    assert flicker(moved, moved) < 0.01
    assert flicker(np.stack([image, image]), np.stack([image, image // 2])) > 0.1
    with pytest.raises(ValueError, match="expected one size"):
        edge_f1(image, image[:40])


def test_a_model_comes_back_equal_and_finds_looks(model, tmp_path):
    model.save(tmp_path / "model")
    again, frames = load(tmp_path / "model"), drawn(2, 3, 40, 32, seed=5)
    look = model.find("wood", StyleSpec({"brown wood": 1.0}), frames, n=2, seed=3)
    assert look.images.shape == (2, 3, 32, 32)
    save_looks([look, Look("same", look.images)], tmp_path / "looks.safetensors")
    looks = load_looks(tmp_path / "looks.safetensors")
    assert [one.name for one in looks] == ["wood", "same"]
    assert torch.equal(looks[0].images, look.images)
    noise = Look("noise", drawn(2, 3, 32, 32))
    made = model.restyle(frames, model.style(noise))
    assert made.shape == frames.shape
    assert torch.allclose(again.restyle(frames, again.style(noise)), made, atol=1e-6)
    half = model.restyle(frames, model.style(noise), 0.5)
    assert torch.allclose(half, 0.5 * made + 0.5 * frames, atol=1e-6)
    with pytest.raises(ValueError, match=r"expected words that this CLIP has read.*found \['zeppelin'\]"):
        model.find("no", StyleSpec({"wood zeppelin": 1.0}), frames)
    file = tmp_path / "model" / "style_transfer.safetensors"
    state = load_file(file)
    save_file(state | {"encoder.51.weight": torch.zeros(1)}, file)  # of a whole VGG-19
    assert torch.allclose(load(tmp_path / "model").restyle(frames, again.style(noise)), made, atol=1e-6)
    save_file({name: value for name, value in state.items() if name != "encoder.2.bias"}, file)
    with pytest.raises(ValueError, match=r"encoder.2.bias: expected \(4,\), found none"):
        load(tmp_path / "model")


def test_without_a_generator_there_is_no_inversion_and_another_one_is_taken(model, tmp_path):
    model.save(tmp_path)
    (tmp_path / "generator.safetensors").unlink()
    with pytest.raises(ValueError, match="generator: expected one"):
        load(tmp_path).inverter()
    other = TextureGenerator(64, 4, 8)
    assert load(tmp_path, other).inverter().generator is other


def test_an_episode_gets_one_look_and_nothing_but_its_pictures_changes(model):
    looks = [Look(str(seed), drawn(1, 3, 32, 32, seed=seed)) for seed in (1, 2)]
    augment = StyleAugment(looks, model, share=0.5)
    image = drawn(1, 3, 32, 32, seed=9)
    episode, state = np.repeat(np.arange(6), 2), torch.arange(12)
    observations = {"images": image.repeat(12, 1, 1, 1), "episode": episode, "state": state}
    seen = augment(observations, seed=4)
    assert seen["state"] is state
    first, second = seen["images"][::2], seen["images"][1::2]
    assert torch.allclose(first, second, atol=1e-6)
    changed = [(one - image[0]).abs().max() > 1e-4 for one in first]
    assert changed == [augment.look_of(number, 4) is not None for number in range(6)]
    assert 0 < sum(changed) < 6
    assert torch.allclose(augment(observations, seed=4)["images"], seen["images"])
    present = torch.tensor([[True, False]] * 6)
    views = {"images": image.repeat(6, 2, 1, 1, 1), "episode": np.arange(6), "present": present}
    found = augment(views, seed=4)["images"]
    assert torch.equal(found[:, 1], views["images"][:, 1])
    assert torch.allclose(found[:, 0], first, atol=1e-6)
    with pytest.raises(ValueError, match="episode: expected 6 numbers"):
        augment(views | {"episode": np.arange(5)})
    with pytest.raises(ValueError, match="expected a model and looks or neither"):
        RestyleOptions(looks="somewhere")


def test_textures_are_what_their_captions_say():
    found = [draw_texture(32, np.random.default_rng(seed)) for seed in range(40)]
    for texture in found:
        assert texture.image.shape == (32, 32, 3)
        assert texture.image.dtype == np.uint8
    again = draw_texture(32, np.random.default_rng(3))
    assert np.array_equal(again.image, found[3].image)
    assert again.caption == found[3].caption
    reds = [as_pixels(one.image[None])[0].mean(dim=(1, 2)) for one in found if one.labels[:2] == (0, 0)]
    assert all(red[0] > red[2] for red in reds)
