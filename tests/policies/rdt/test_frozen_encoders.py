"""Fine-tuning from a directory in the released layout: a network in bfloat16, SigLIP, and T5 or embeddings."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import SiglipVisionConfig, SiglipVisionModel, T5Config, T5EncoderModel, T5Tokenizer

from policies.interface import load_policy
from policies.lora import LoraSettings
from policies.rdt.checkpoint import save_model
from policies.rdt.config import RDTConfig
from policies.rdt.embedding_files import write_embedding
from policies.rdt.embodiment import ALOHA_AGILEX
from policies.rdt.frozen_encoders import FrozenEncoders
from policies.rdt.images import background_image
from policies.rdt.training_options import RDTTraining
from policies.train import new_run
from policies.train_config import TrainConfig
from representation.training import new_accelerator
from tests.policies.rdt.conftest import random_model
from tests.policies.rdt.episodes import VARIANTS, write_aloha
from tests.policies.training_runs import check_resumed_equals_whole, run

TOWER = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
WORDS = ["<pad>", "</s>", "<unk>", "▁", "▁Lift", "▁it.", "▁the", "▁cube."]
T5 = {"d_model": 12, "d_kv": 4, "d_ff": 24, "num_layers": 1, "num_heads": 2, "feed_forward_proj": "gated-gelu"}
CONFIG = replace(RDTConfig.tiny(), hidden_size=32, depth=2, lang_token_dim=12, img_token_dim=16, image_grid=(2, 3, 4))


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    directory = tmp_path_factory.mktemp("released")
    save_model(random_model(config=CONFIG).to(torch.bfloat16), directory, "hub")
    torch.manual_seed(0)
    SiglipVisionModel(SiglipVisionConfig(**TOWER, image_size=30, patch_size=14)).save_pretrained(
        directory / "image_tower"
    )
    T5EncoderModel(T5Config(vocab_size=len(WORDS), **T5)).save_pretrained(directory / "text_encoder")
    T5Tokenizer(vocab=[(word, -1.0) for word in WORDS], extra_ids=0).save_pretrained(directory / "text_encoder")
    settings = {"robot": "aloha", "norm_stat": "var", "sampler_steps": 3, "embodiment": asdict(ALOHA_AGILEX)}
    (directory / "policy.json").write_text(json.dumps(settings))
    return directory


@pytest.fixture(scope="module")
def config(released, tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "lift"
    write_aloha(root, (130, 130))
    return TrainConfig(
        dataset=(root,),
        output=root,
        policy="rdt",
        initial=released,
        rdt=RDTTraining(masked_loss=False, augment=True),
        steps=4,
        batch_size=4,
        warmup_steps=1,
        jitter=0.0,
        validation_episodes=1,
        validation_frames=6,
        validate_every=4,
        log_every=1,
        save_every=2,
        threads=1,
    )


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    return run(replace(config, output=tmp_path_factory.mktemp("runs") / "whole"))


def contents(directory):
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_the_network_is_trained_in_float32_with_the_policys_own_sizes_and_embodiment(finished):
    learner = finished.learner
    assert {parameter.dtype for parameter in finished.bare_model.parameters()} == {torch.float32}
    assert (learner.rows, learner.image_size, learner.history) == (8, 30, True)
    assert learner.settings.embodiment == ALOHA_AGILEX
    assert learner.settings.sampler_steps == 3
    batch = learner.batch(learner.training[:4], torch.Generator().manual_seed(0))
    assert batch["images"].shape == (4, 6, 3, 30, 30)
    assert batch["language"].shape[2] == 12


def test_the_saved_policy_has_the_average_and_the_encoders_as_they_were(finished, released):
    saved = finished.output / "policy"
    for name in ("image_tower", "text_encoder"):
        assert contents(saved / name) == contents(released / name)
    policy = load_policy(str(saved))
    expected = finished.average.model.state_dict()
    before = load_policy(str(released)).model.state_dict()
    for name, value in policy.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert any(not torch.equal(expected[name], before[name].float()) for name in before)
    # Encoders are no part of what an optimizer changes or a state keeps.
    state = load_file(finished.output / "training_state.safetensors")
    assert not any("tower" in name or "text" in name for name in state)


def test_the_loss_is_that_of_the_policys_own_conditions(finished, config):
    """Features and embeddings of a batch are those that the saved policy would compute."""
    learner = finished.learner
    frames = learner.training[[0, 40]]
    batch = learner._encoded(learner._plain(frames, None))
    policy = load_policy(str(finished.output / "policy"))
    torch.testing.assert_close(batch["language"][0], policy.text(VARIANTS.original).float())
    pixels = learner._plain(frames, None)["images"]
    torch.testing.assert_close(batch["images"][1], policy.tower(pixels[1]))
    assert torch.equal(batch["images"][0, 2], policy._features.background)


def test_each_text_is_encoded_once_into_the_cache(finished, released, config, tmp_path, monkeypatch):
    texts = {*VARIANTS.texts, ""}
    assert len(list((finished.output / "embeddings").glob("*.safetensors"))) == len(texts)
    calls = []
    monkeypatch.setattr(
        "policies.rdt.language.T5TextEncoder.forward",
        lambda self, text: calls.append(text) or torch.ones(2, 12),
    )
    accelerator = new_accelerator(config)
    for _ in range(2):
        encoders = FrozenEncoders(released, 12, list(texts), tmp_path, accelerator)
        assert set(encoders.embeddings) == texts
    assert sorted(calls) == sorted(texts)


def test_missing_pictures_do_not_pass_the_tower(finished, monkeypatch):
    encoders, counts = finished.learner.encoders, []
    tower = encoders._features.tower
    monkeypatch.setattr(encoders._features, "tower", lambda pixels: counts.append(len(pixels)) or tower(pixels))
    pixels = background_image(30).repeat(2, 6, 1, 1, 1)
    pixels[1, 3:5] += 0.1
    features = encoders.features(pixels)
    assert counts == [2]
    torch.testing.assert_close(features[1, 3], tower(pixels[1, 3:4])[0])


def test_a_resumed_run_equals_the_uninterrupted_one_exactly(finished, config, tmp_path):
    check_resumed_equals_whole(finished, replace(config, output=tmp_path / "interrupted"), 3)


def test_adapters_are_merged_into_the_network_and_saved_alone(config, released, tmp_path):
    tuned = run(replace(config, output=tmp_path, lora=LoraSettings(rank=2)))
    after, before = (load_policy(str(path)).model.state_dict() for path in (tmp_path / "policy", released))
    changed = {name for name in after if not torch.equal(after[name], before[name].float())}
    assert "model.blocks.0.attn.qkv.weight" in changed
    assert not any("norm" in name or "embed" in name for name in changed)
    adapters = load_file(tmp_path / "adapters" / "adapter_model.safetensors")
    name = "base_model.model.model.blocks.0.attn.qkv.lora_{}.weight"
    product = adapters[name.format("B")] @ adapters[name.format("A")] * (32 / 2)
    key = "model.blocks.0.attn.qkv.weight"
    torch.testing.assert_close(after[key], before[key].float() + product)
    assert all(parameter.requires_grad == ("lora_" in key) for key, parameter in tuned.bare_model.named_parameters())


@pytest.fixture
def embedded(released, tmp_path):
    """The same with embeddings in place of the text encoder."""
    directory = tmp_path / "embedded"
    shutil.copytree(released, directory)
    shutil.rmtree(directory / "text_encoder")
    for number, text in enumerate(["", *VARIANTS.texts]):
        path = directory / "embeddings" / f"{number}.safetensors"
        write_embedding(path, torch.full((3, 12), float(number)), text, "test")
    return directory


def test_embeddings_made_beforehand_take_the_place_of_the_text_encoder(embedded, config, tmp_path):
    tuned = run(replace(config, initial=embedded, output=tmp_path / "run", steps=1))
    assert tuned.learner.encoders.embeddings["Lift."][0, 0] == 2
    assert set(load_policy(str(tmp_path / "run" / "policy")).instructions) == {"", *VARIANTS.texts}
    assert not (tmp_path / "run" / "embeddings").exists()


def test_a_dropped_instruction_is_the_embedding_of_the_empty_text(embedded, config, tmp_path):
    options = replace(config.rdt, drop=1.0)
    learner = new_run(replace(config, initial=embedded, output=tmp_path, rdt=options)).learner
    batch = learner.batch(learner.training[:4], torch.Generator().manual_seed(0))
    assert not batch["language"].any()  # its file holds zeros, those of the others do not
    assert batch["language_mask"].sum(1).tolist() == [3] * 4


@pytest.mark.parametrize(("number", "text"), [(0, ""), (2, "Lift.")])
def test_a_text_without_an_embedding_is_named_before_training(embedded, config, tmp_path, number, text):
    (embedded / "embeddings" / f"{number}.safetensors").unlink()
    with pytest.raises(ValueError, match=rf"embedded: .*found '{text}'; training needs the embedding of each"):
        new_run(replace(config, initial=embedded, output=tmp_path / "run"))


def test_texts_that_are_not_drawn_need_no_embedding(embedded, config, tmp_path):
    (embedded / "embeddings" / "2.safetensors").unlink()
    options = replace(config.rdt, instruction_variants=False)
    learner = new_run(replace(config, initial=embedded, output=tmp_path, rdt=options)).learner
    assert set(learner.encoders.embeddings) == {"", VARIANTS.original}


def test_parts_that_do_not_fit_are_refused(embedded, config, tmp_path):
    run_of = replace(config, initial=embedded, output=tmp_path / "run")
    with pytest.raises(ValueError, match=r"--rdt\.image-size: expected the policy's 30, found 64"):
        new_run(replace(run_of, rdt=replace(config.rdt, image_size=64)))
    SiglipVisionModel(SiglipVisionConfig(**TOWER, image_size=42, patch_size=14)).save_pretrained(
        embedded / "image_tower"
    )
    with pytest.raises(ValueError, match=r"image tower: expected \(4, 16\) tokens and numbers, found \(9, 16\)"):
        new_run(run_of)
    tensors = load_file(embedded / "image_tower" / "model.safetensors")
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, embedded / "image_tower" / "model.safetensors")
    with pytest.raises(ValueError, match="missing are"):
        new_run(run_of)
    (embedded / "policy.json").unlink()
    with pytest.raises(ValueError, match=r"expected an RDT policy to go on from, found no policy\.json"):
        new_run(run_of)
