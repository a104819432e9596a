from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.interface import load_policy
from policies.rdt.encoder_tower import EncoderTower
from policies.rdt.training_options import RDTTraining
from policies.train import check_vision, new_run
from policies.train_config import TrainConfig
from representation.pretraining.clip.config import CLIPConfig
from representation.pretraining.clip.encoder import CLIPEncoder
from representation.pretraining.clip.model import CLIP
from representation.pretraining.clip.tokenizer import Tokenizer
from representation.training import check_output
from tests.policies.rdt.episodes import write_bimanual
from tests.policies.rdt.test_learner import observe
from tests.representation.test_perceiver import Extent

TEXTS = ["turn the left arm", "turn the right arm"]
EMBED, SIDE = 12, 16


def clip(layers: int | tuple[int, ...], seed: int = 0) -> CLIPEncoder:
    tokenizer = Tokenizer.fit(TEXTS, 600)
    config = CLIPConfig(
        embed_dim=EMBED,
        image_resolution=32,
        vision_layers=layers,
        vision_width=64 if isinstance(layers, int) else 8,
        vision_patch_size=16 if isinstance(layers, int) else None,
        context_length=12,
        vocab_size=len(tokenizer),
        transformer_width=16,
        transformer_heads=2,
        transformer_layers=1,
    )
    return CLIPEncoder(CLIP(config, torch.Generator().manual_seed(seed)), tokenizer).eval()


def pixels(count: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_a_vision_transformer_gives_its_parts_and_a_residual_network_one_vector():
    parts, whole = EncoderTower(clip(1), SIDE), EncoderTower(clip((1, 1, 1, 1)), SIDE)
    assert (parts.tokens_per_image, parts.width) == (4, EMBED)
    assert (whole.tokens_per_image, whole.width) == (1, EMBED)
    images = (pixels() + 1) / 2
    torch.testing.assert_close(whole(pixels())[:, 0], whole.encoder.encode(images))
    features, _ = parts.encoder.dense(images)
    torch.testing.assert_close(parts(pixels())[:, 1], features[:, :, 0, 1])


def test_it_comes_back_equal(tmp_path):
    tower = EncoderTower(clip(1), SIDE)
    tower.save_pretrained(tmp_path)
    again = EncoderTower.from_directory(tmp_path)
    assert again.image_size == SIDE
    assert torch.equal(again(pixels()), tower(pixels()))
    (tmp_path / "tower.json").write_text(json.dumps({"image_size": "big"}))
    with pytest.raises(ValueError, match=r"tower\.json: expected a size in pixels, found 'big'"):
        EncoderTower.from_directory(tmp_path)


def test_only_what_sees_is_trained():
    tower = EncoderTower(clip((1, 1, 1, 1)), SIDE).requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    tower.requires_grad_(True)
    trained = {name for name, parameter in tower.named_parameters() if parameter.requires_grad}
    assert any("visual" in name for name in trained)
    assert not any("transformer.resblocks" in name and "visual" not in name for name in trained)
    tower(pixels()).sum().backward()
    assert all(parameter.grad is not None for name, parameter in tower.named_parameters() if name in trained)
    tower.train()
    assert not tower.encoder.training


def test_where_it_cannot_be_used_it_is_refused(tmp_path):
    fields = {"dataset": (tmp_path,), "output": tmp_path, "rdt": RDTTraining(vision_encoder=tmp_path)}
    check_vision(TrainConfig(policy="rdt", **fields))
    with pytest.raises(ValueError, match="expected a fresh policy of --policy rdt, found spatialvla"):
        check_vision(TrainConfig(policy="spatialvla", **fields))
    with pytest.raises(ValueError, match="expected a fresh policy of --policy rdt, found rdt, /old"):
        check_vision(TrainConfig(policy="rdt", initial=Path("/old"), **fields))


def test_an_encoder_of_something_else_is_refused():
    with pytest.raises(ValueError, match="expected a module that takes pictures, found one of points"):
        EncoderTower(Extent(), SIDE)


@pytest.mark.parametrize("freeze", [True, False], ids=["frozen", "trained on"])
def test_a_policy_is_trained_on_a_pretrained_encoder(tmp_path, freeze):
    write_bimanual(tmp_path / "data", np.random.default_rng(0))
    before = clip(1)
    before.save(tmp_path / "clip")
    config = TrainConfig(
        dataset=(tmp_path / "data",),
        output=tmp_path / "run",
        policy="rdt",
        size="tiny",
        rdt=RDTTraining(left_wrist="", image_size=SIDE, chunk=8, vision_encoder=tmp_path / "clip", freeze=freeze),
        steps=4,
        batch_size=8,
        warmup_steps=1,
        lr=3e-3,
        average_decay=0.5,
        validation_episodes=2,
        validate_every=4,
        log_every=1,
        save_every=4,
        threads=1,
    )
    check_output(config)
    config.output.mkdir()
    new_run(config).train()
    policy = load_policy(str(config.output / "policy"))
    policy.reset(0)
    assert policy.act(observe("left")).rows.shape == (8, 14)
    same = [
        torch.equal(value, before.state_dict()[name])
        for name, value in policy.tower.encoder.state_dict().items()
        if "visual" in name and "num_batches" not in name
    ]
    assert all(same) == freeze
    goes_on = replace(config, output=tmp_path / "second", initial=config.output / "policy", steps=1, save_every=1)
    goes_on.output.mkdir()
    new_run(replace(goes_on, rdt=replace(config.rdt, vision_encoder=None))).train()
