from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPConfig as TheirConfig
from transformers import CLIPModel

from representation.pretraining.clip.config import CLIPConfig, config_of
from representation.pretraining.clip.model import CLIP
from representation.pretraining.clip.weights import load_clip, save_clip, to_transformers

SMALL = CLIPConfig(64, 64, 2, 128, 16, 77, 600, 128, 2, 2)
RELEASED = {
    "RN50": CLIPConfig(1024, 224, (3, 4, 6, 3), 64, None, 77, 49408, 512, 8, 12),
    "RN50x4": CLIPConfig(640, 288, (4, 6, 10, 6), 80, None, 77, 49408, 640, 10, 12),
    "ViT-B/32": CLIPConfig(512, 224, 12, 768, 32, 77, 49408, 512, 8, 12),
    "ViT-L/14": CLIPConfig(768, 224, 24, 1024, 14, 77, 49408, 768, 12, 12),
}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A directory that transformers wrote, its model, and inputs with their logits."""
    sides = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = TheirConfig(
        projection_dim=64,
        text_config=sides | {"vocab_size": 600, "eos_token_id": 599, "projection_dim": 64},
        vision_config=sides | {"image_size": 64, "patch_size": 16, "projection_dim": 64},
    )
    torch.manual_seed(0)
    model = CLIPModel(config).eval()
    directory = tmp_path_factory.mktemp("clip")
    model.save_pretrained(directory)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(3, 3, 64, 64, generator=generator)
    tokens = torch.randint(1, 598, (3, 77), generator=generator)
    tokens[:, 0], tokens[torch.arange(3), torch.tensor([5, 20, 76])] = 598, 599
    with torch.no_grad():
        logits = model(input_ids=tokens, pixel_values=images).logits_per_image
    return directory, images, tokens, logits


def logits_of(model, theirs):
    with torch.no_grad():
        return model(theirs[1], theirs[2])[0]


def test_a_directory_of_transformers_gives_its_logits(theirs):
    torch.testing.assert_close(logits_of(load_clip(theirs[0]), theirs), theirs[3], atol=1e-4, rtol=0)


def test_released_files_give_the_same_logits_in_half_precision(theirs, tmp_path):
    model = load_clip(theirs[0])
    scalars = {"input_resolution": 64, "context_length": 77, "vocab_size": 600}
    state = {name: value.half() for name, value in model.state_dict().items()}
    state |= {name: torch.tensor(value) for name, value in scalars.items()}
    torch.save(state, tmp_path / "plain.pt")
    torch.jit.save(torch.jit.script(tree_of(state)), tmp_path / "archive.pt")
    for name in ("plain.pt", "archive.pt"):
        torch.testing.assert_close(logits_of(load_clip(tmp_path / name), theirs), theirs[3], atol=2e-2, rtol=0)


def tree_of(state):
    """A module whose state dict is `state`."""
    root = nn.Module()
    for name, value in state.items():
        *path, leaf = name.split(".")
        module = root
        for part in path:
            if part not in dict(module.named_children()):
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        module.register_buffer(leaf, value)
    return root


def test_what_we_write_we_read_and_so_does_transformers(theirs, tmp_path):
    model = load_clip(theirs[0])
    save_clip(model, tmp_path / "ours")
    assert torch.equal(logits_of(load_clip(tmp_path / "ours"), theirs), logits_of(model, theirs))
    config, state = to_transformers(model)
    again = CLIPModel(TheirConfig(**config)).eval()
    missing, unexpected = again.load_state_dict(state, strict=False)
    assert not unexpected
    assert all("position_ids" in name for name in missing)
    with torch.no_grad():
        found = again(input_ids=theirs[2], pixel_values=theirs[1]).logits_per_image
    torch.testing.assert_close(found, theirs[3], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", sorted(RELEASED))
def test_sizes_follow_from_the_shapes_of_the_released_weights(name):
    with torch.device("meta"):
        model = CLIP(RELEASED[name])
    assert config_of(model.state_dict()) == RELEASED[name]
    counts = {"RN50": 102.01e6, "ViT-B/32": 151.28e6}
    if name in counts:
        assert sum(p.numel() for p in model.parameters()) == pytest.approx(counts[name], abs=0.005e6)


def test_a_residual_network_keeps_its_weights(tmp_path):
    config = replace(SMALL, vision_layers=(1, 1, 2, 1), vision_width=16, vision_patch_size=None)
    model = CLIP(config, torch.Generator().manual_seed(0)).eval()
    save_file(model.state_dict(), tmp_path / "rn.safetensors")
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = load_clip(tmp_path / "rn.safetensors").encode_image(images)
        assert torch.equal(found, model.encode_image(images))
    with pytest.raises(ValueError, match="residual network"):
        to_transformers(model)


def test_damaged_files_are_refused_by_the_tensors_name(theirs, tmp_path):
    save_clip(load_clip(theirs[0]), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    for change, message in (
        ({"ln_final.bias": None}, r"ln_final\.bias: expected shape \(128,\), found None"),
        ({"ln_final.bias": torch.zeros(3)}, r"ln_final\.bias: expected shape \(128,\), found \(3,\)"),
        ({"extra": torch.zeros(3)}, r"extra: expected shape None, found \(3,\)"),
    ):
        changed = {name: value for name, value in (state | change).items() if value is not None}
        save_file(changed, tmp_path / "model.safetensors")
        with pytest.raises(ValueError, match=message):
            load_clip(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"embed_dim": 3}))
    with pytest.raises(ValueError, match="expected the sizes of a CLIP"):
        load_clip(tmp_path)
    save_file({"visual.proj": torch.zeros(2, 2)}, tmp_path / "part.safetensors")
    with pytest.raises(ValueError, match=r"found none named 'visual\.conv1\.weight'"):
        load_clip(tmp_path / "part.safetensors")
