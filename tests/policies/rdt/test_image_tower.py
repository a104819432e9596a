from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import SiglipConfig, SiglipModel, SiglipVisionConfig, SiglipVisionModel

from policies.rdt.image_tower import ImageFeatures, SiglipTower
from policies.rdt.images import background_image

TINY = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 30,
    "patch_size": 14,
}


@pytest.fixture(scope="module")
def whole():
    """All of SigLIP, tiny."""
    torch.manual_seed(0)
    text = {**TINY, "vocab_size": 10, "max_position_embeddings": 4, "projection_size": 16}
    return SiglipModel(SiglipConfig(text_config=text, vision_config=TINY)).eval()


@pytest.fixture
def directory(tmp_path, whole):
    """The whole model under the key names of transformers 4."""
    whole.config.save_pretrained(tmp_path)
    tensors = {key: value.clone() for key, value in whole.state_dict().items()}
    assert any(key.startswith("vision_model.encoder.layers.1.") for key in tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    return tmp_path


def change(directory, edit):
    tensors = load_file(directory / "model.safetensors")
    edit(tensors)
    save_file(tensors, directory / "model.safetensors")


def some_pixels(count=2):
    return torch.rand(count, 3, 30, 30, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_released_size_gives_729_tokens_of_1152_numbers():
    with torch.device("meta"):
        sizes = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
        tower = SiglipTower(SiglipVisionConfig(**sizes, image_size=384, patch_size=14))
    assert (tower.tokens_per_image, tower.width, tower.image_size) == (729, 1152, 384)
    assert sum(parameter.numel() for parameter in tower.parameters()) == 412_987_248
    assert not any("head" in name for name, _ in tower.named_parameters())
    assert tower.vision_model.config.hidden_act == "gelu_pytorch_tanh"


def test_features_are_the_last_hidden_state_of_the_whole_model(directory, whole):
    tower = SiglipTower.from_directory(directory)
    features = tower(some_pixels())
    assert features.shape == (2, 4, 16)
    expected = whole.vision_model(pixel_values=some_pixels()).last_hidden_state
    torch.testing.assert_close(features, expected)


def test_keys_without_the_prefix_load_the_same(tmp_path, directory):
    other = tmp_path / "tower"
    tensors = load_file(directory / "model.safetensors")
    alone = SiglipVisionModel(SiglipVisionConfig(**TINY))
    alone.load_state_dict({k.removeprefix("vision_model."): v for k, v in tensors.items() if "vision_model" in k})
    alone.config.save_pretrained(other)
    save_file({key: value.clone() for key, value in alone.state_dict().items()}, other / "model.safetensors")
    found, expected = SiglipTower.from_directory(other), SiglipTower.from_directory(directory)
    assert torch.equal(found(some_pixels()), expected(some_pixels()))


def test_shards_load_the_same_and_a_lost_one_is_noticed(tmp_path, directory):
    expected = SiglipTower.from_directory(directory)(some_pixels())
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    keys = sorted(tensors)
    for number, half in enumerate((keys[::2], keys[1::2]), start=1):
        save_file({key: tensors[key] for key in half}, directory / f"model-0000{number}-of-00002.safetensors")
    assert torch.equal(SiglipTower.from_directory(directory)(some_pixels()), expected)
    (directory / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match=r"expected all .* weights of the encoder, found .*missing are"):
        SiglipTower.from_directory(directory)


KEY = "vision_model.post_layernorm.weight"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.update({KEY: torch.ones(8)}), rf"{KEY}: expected shape \(16,\), found \(8,\)"),
        (lambda t: t.pop(KEY), r"missing are \['post_layernorm.weight'\]"),
        (lambda t: t[KEY].fill_(torch.nan), f"{KEY}: expected finite values, found 16 that are not"),
        (lambda t: t.update({KEY: torch.ones(16).long()}), f"{KEY}: expected floating-point values, found torch.int64"),
        (
            lambda t: t.update({"vision_model.extra": torch.ones(1)}),
            "vision_model.extra: expected a weight of the encoder",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(directory, edit, message):
    change(directory, edit)
    with pytest.raises(ValueError, match=message):
        SiglipTower.from_directory(directory)


def test_a_damaged_or_absent_file_is_named(directory):
    (directory / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"model\.safetensors: expected a readable safetensors file"):
        SiglipTower.from_directory(directory)
    (directory / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected model\.safetensors or"):
        SiglipTower.from_directory(directory)
    (directory / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected config\.json"):
        SiglipTower.from_directory(directory)


def test_the_tower_stays_frozen_and_takes_the_number_format_asked_for(directory):
    tower = SiglipTower.from_directory(directory, dtype="bfloat16")
    tower.train()
    assert not tower.vision_model.training
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    assert tower(some_pixels()).dtype == torch.bfloat16


def test_pixels_of_another_size_are_refused(directory):
    with pytest.raises(ValueError, match=r"expected \(N, 3, 30, 30\), found \(1, 3, 28, 28\)"):
        SiglipTower.from_directory(directory)(torch.zeros(1, 3, 28, 28))


class CountingTower:
    """Any encoder will do: this one gives each half of a picture's mean level."""

    image_size, tokens_per_image, width = 8, 2, 3

    def __init__(self):
        self.calls = []

    def __call__(self, pixels):
        self.calls.append(len(pixels))
        return pixels.unflatten(2, (2, 4)).mean(dim=(3, 4)).transpose(1, 2)


def test_all_present_pictures_go_in_one_call_and_missing_ones_in_none():
    tower = CountingTower()
    encoder = ImageFeatures(tower)
    pixels = torch.rand(2, 6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    present = torch.tensor([[False, False, False, True, True, True], [True, False, True, True, False, True]])
    features = encoder.encode(pixels, present)
    assert tower.calls == [1, 7]
    assert features.shape == (2, 6, 2, 3)
    background = tower(background_image(8)[None])[0]
    torch.testing.assert_close(features[~present], background.expand(5, 2, 3))
    torch.testing.assert_close(features[present], tower(pixels[present]))
    encoder.encode(pixels, torch.zeros(2, 6, dtype=torch.bool))
    assert tower.calls == [1, 7, 1, 7]


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"expected bool of shape \(2,\), found torch.bool \(3,\)"):
        ImageFeatures(CountingTower()).encode(torch.zeros(2, 3, 8, 8), torch.ones(3, dtype=torch.bool))
