import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import ResNetConfig, ResNetModel, ViTConfig, ViTModel

from representation.image_tower import TowerConfig, new_tower
from representation.pretraining.mochi import Config
from representation.pretraining.small_encoder import SmallEncoder
from representation.selection.benchx import (
    EncoderBackend,
    FeatureBackend,
    HuggingFaceBackend,
    NamedLayerBackend,
    VisionTransformerBackend,
    VisionTransformerConfig,
    load_backbone_weights,
)
from representation.selection.benchx.backends import pooled, spread_blocks, tokens_to_map

TINY = VisionTransformerConfig(resolution=32, patch=8, width=16, depth=6, heads=2, drop_path=0.1)


def pictures(count=2, side=32, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def residual_tower(pool=False):
    config = TowerConfig("resnet18", 4, 32, pool=pool)
    return new_tower(config, "matryoshka", torch.Generator().manual_seed(0)).eval()


def test_a_small_encoder_has_a_map_of_each_resolution():
    encoder = SmallEncoder("mochi", Config(), torch.Generator().manual_seed(0)).eval()
    backend = EncoderBackend(encoder)
    assert isinstance(backend, FeatureBackend)
    images = pictures(side=48)
    assert torch.equal(backend.forward_features(images), encoder.encode(images))
    maps = backend.feature_pyramid(images)
    assert [tuple(x.shape[1:]) for x in maps] == [(32, 16, 16), (64, 8, 8), (64, 4, 4)]
    assert torch.equal(maps[-1], encoder.dense(images)[0])


def test_the_stages_of_a_residual_network_are_found():
    encoder = residual_tower()
    maps = EncoderBackend(encoder).feature_pyramid(pictures())
    named = NamedLayerBackend(encoder.tower, "layer4").feature_pyramid((pictures() - encoder.mean) / encoder.std)
    assert [x.shape[1] for x in maps] == [4, 8, 16, 32]
    assert all(torch.equal(a, b) for a, b in zip(maps, named, strict=True))


def test_a_named_layer_gives_tokens_or_an_average():
    tower = residual_tower().tower
    tokens, average = (NamedLayerBackend(tower, "layer4", average=value) for value in (False, True))
    assert tokens.embed_dim == average.embed_dim == 32
    features = tokens.forward_features(pictures())
    assert features.shape == (2, 16, 32)
    assert torch.allclose(features.mean(dim=1), average.forward_features(pictures()), atol=1e-5)
    assert torch.allclose(average.forward_features(pictures()), tower(pictures()), atol=1e-5)
    with pytest.raises(ValueError, match=r"layers: expected \['avgpool'\], found"):
        NamedLayerBackend(tower)


def test_gradients_reach_an_encoder_through_its_maps():
    encoder = SmallEncoder("mochi", Config(), torch.Generator().manual_seed(0))
    EncoderBackend(encoder).feature_pyramid(pictures())[0].sum().backward()
    assert encoder.layers[0].weight.grad.abs().sum() > 0


class Vectors(nn.Module):
    modality, width = "image", 5

    def encode(self, inputs):
        return inputs.mean(dim=(2, 3)).repeat(1, 2)[:, :5]


def test_an_encoder_without_maps_has_one_of_one_place():
    (only,) = EncoderBackend(Vectors()).feature_pyramid(pictures())
    assert only.shape == (2, 5, 1, 1)
    clouds = Vectors()
    clouds.modality = "points"
    with pytest.raises(ValueError, match="encoder: expected a network of pictures, found Vectors of points"):
        EncoderBackend(clouds)


def test_four_blocks_are_spread_over_a_transformer():
    assert spread_blocks(12) == [3, 5, 7, 11]
    assert spread_blocks(1) == [0, 0, 0, 0]


def test_the_vision_transformer_takes_pictures_of_other_sizes():
    backend = VisionTransformerBackend(TINY).eval()
    assert backend.forward_features(pictures()).shape == (2, 17, 16)
    assert [tuple(x.shape) for x in backend.feature_pyramid(pictures(side=48))] == [(2, 16, 6, 6)] * 4
    same, other = backend._positions(4, 4), backend._positions(6, 6)
    assert torch.equal(same, backend.pos_embed)
    expected = nn.functional.interpolate(tokens_to_map(backend.pos_embed), (6, 6), mode="bicubic", align_corners=False)
    assert torch.allclose(tokens_to_map(other), expected)
    first, again = (VisionTransformerBackend(TINY, seed=3).eval().forward_features(pictures()) for _ in range(2))
    assert torch.equal(first, again)


def test_blocks_are_left_out_in_training_only():
    backend = VisionTransformerBackend(VisionTransformerConfig(32, 8, 16, 6, 2, drop_path=0.9))
    torch.manual_seed(0)
    assert not torch.allclose(backend.train().forward_features(pictures()), backend.forward_features(pictures()))
    assert torch.equal(backend.eval().forward_features(pictures()), backend.forward_features(pictures()))


def test_models_of_transformers_are_backends():
    torch.manual_seed(0)
    vit = ViTModel(
        ViTConfig(
            hidden_size=16,
            num_hidden_layers=6,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=32,
            patch_size=8,
        ),
        add_pooling_layer=False,
    ).eval()
    backend = HuggingFaceBackend(vit)
    assert backend.forward_features(pictures()).shape == (2, 17, 16)
    assert [tuple(x.shape) for x in backend.feature_pyramid(pictures())] == [(2, 16, 4, 4)] * 4
    resnet = ResNetModel(ResNetConfig(embedding_size=4, hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 1, 1])).eval()
    backend = HuggingFaceBackend(resnet)
    assert backend.embed_dim == 32
    assert [x.shape[1] for x in backend.feature_pyramid(pictures(side=64))] == [8, 16, 16, 32]
    assert backend.forward_features(pictures(side=64)).shape == (2, 4, 32)


def test_tokens_are_pooled_with_and_without_the_class_token():
    tokens = torch.arange(12.0).view(1, 4, 3)
    assert torch.equal(pooled(tokens, "token"), tokens[:, 0])
    assert torch.equal(pooled(tokens, "avg"), tokens[:, 1:].mean(dim=1))
    assert torch.equal(pooled(tokens, "mean"), tokens.mean(dim=1))
    assert torch.equal(pooled(tokens[:, 0], "avg"), tokens[:, 0])
    with pytest.raises(ValueError, match="expected a square of them, one more or not, found 7"):
        tokens_to_map(torch.zeros(1, 7, 2))


def test_a_checkpoint_loses_its_prefix_and_its_classifier(tmp_path):
    tower = residual_tower().tower
    wanted = {name: torch.full_like(value, 0.5) for name, value in tower.state_dict().items()}
    state = {f"module.visual.{name}": value for name, value in wanted.items() if name != "conv1.weight"}
    state |= {"module.visual.fc.weight": torch.zeros(2, 2), "text.weight": torch.zeros(1)}
    state["module.visual.extra"] = torch.zeros(1)
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "whole.pt")
    keys = load_backbone_weights(tower, tmp_path / "whole.pt", "visual.")
    assert keys.missing == ("conv1.weight",)
    assert keys.unexpected == ("extra",)
    assert torch.equal(tower.layer1[0].conv1.weight, wanted["layer1.0.conv1.weight"])
    save_file({name: value.contiguous() for name, value in wanted.items()}, tmp_path / "plain.safetensors")
    assert load_backbone_weights(tower, tmp_path / "plain.safetensors") == ((), ())


def test_checkpoints_that_do_not_fit_are_told(tmp_path):
    tower = residual_tower().tower
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "shape.pt")
    with pytest.raises(ValueError, match=r"conv1.weight: expected \(4, 3, 3, 3\), found \(1,\)"):
        load_backbone_weights(tower, tmp_path / "shape.pt")
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"expected weights as .*, found \['other'\]"):
        load_backbone_weights(tower, tmp_path / "other.pt")
    torch.save({"model": np.random.default_rng}, tmp_path / "code.pt")
    with pytest.raises(ValueError, match="expected a file of weights alone"):
        load_backbone_weights(tower, tmp_path / "code.pt")
