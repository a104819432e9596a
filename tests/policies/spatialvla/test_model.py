from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from policies.spatialvla.checkpoint import released_name
from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.decoder import prefix_mask, rms_norm, rotary, run_layer
from policies.spatialvla.model import SpatialVLAModel, build_model, position_ids
from tests.policies.spatialvla.conftest import demonstration_actions, make_frames, make_processor


def training_inputs(processor, rng, batch=3):
    actions = demonstration_actions(rng, batch * 4).reshape(batch, 4, 7)
    return processor.collate(**make_frames(rng, batch), actions=actions)


@pytest.fixture
def processor():
    return make_processor()


@pytest.fixture
def model(processor):
    return build_model(processor.config, seed=0).eval()


@pytest.fixture
def reference(goldens):
    """A network with the reference's weights, its inputs, and the reference's numbers."""
    content = json.loads((goldens / "tiny_config.json").read_text())
    config = replace(SpatialVLAConfig.from_dict(content), use_vision_zoe=False)
    model = SpatialVLAModel(config).eval()
    weights = load_file(goldens / "tiny_model.safetensors")
    model.load_state_dict({name: weights[released_name(name)] for name in model.state_dict()})
    numbers = {k: torch.from_numpy(v) for k, v in np.load(goldens / "forward_given_depth.npz").items()}
    depth = numbers["given_depth384"].float()[:, None]
    depth = torch.nn.functional.interpolate(depth, (286, 286), mode="bicubic", align_corners=True)[:, 0, 31:-31, 31:-31]
    inputs = {
        "input_ids": numbers["input_ids"],
        "pixel_values": numbers["pixel_values_u8"].float() / 255,
        "intrinsics": numbers["intrinsic"],
        "depth": depth,
    }
    return model, inputs, numbers


@torch.no_grad()
def test_forward_pass_equals_the_reference(reference):
    model, inputs, numbers = reference
    seen = {name: inputs[name] for name in ("pixel_values", "intrinsics", "depth")}
    towered = model.vision_tower((inputs["pixel_values"] - 0.5) / 0.5).last_hidden_state
    torch.testing.assert_close(towered[:, ::8], numbers["siglip_last_hidden"], atol=1e-5, rtol=0)
    points = model.image_points(inputs["depth"], inputs["intrinsics"])
    torch.testing.assert_close(points[:, ::8], numbers["given.points"], atol=1e-5, rtol=0)
    encoded = model.position_embedding_3d(points)
    torch.testing.assert_close(encoded[:, ::8], numbers["given.pos_embed"], atol=1e-5, rtol=0)
    features = model.image_features(**seen)
    torch.testing.assert_close(features[:, ::8] / 48**0.5, numbers["given.image_features"], atol=1e-5, rtol=0)
    logits = model(**inputs, logits_to_keep=12).logits
    torch.testing.assert_close(logits, numbers["given.logits_last12"], atol=2e-5, rtol=0)


@torch.no_grad()
def test_hidden_states_of_every_layer_equal_the_reference(reference):
    """The last of them after the final norm, as the library counts them."""
    model, inputs, numbers = reference
    decoder = model.language_model.model
    mask = torch.ones_like(inputs["input_ids"], dtype=torch.bool)
    hidden = model.embed(**inputs)
    states = [hidden]
    angles, bias = rotary(decoder, position_ids(mask)), prefix_mask(mask, mask, hidden.dtype)
    for layer in decoder.layers:
        hidden = run_layer(layer, hidden, angles, bias)
        states.append(hidden)
    states[-1] = rms_norm(decoder.norm, hidden)
    expected = numbers["given.hidden_last8"]
    assert len(states) == len(expected)
    for number, (state, wanted) in enumerate(zip(states, expected, strict=True)):
        torch.testing.assert_close(state[:, -8:], wanted, atol=2e-5, rtol=0, msg=lambda text, n=number: f"{n}: {text}")


@torch.no_grad()
@pytest.mark.parametrize(("rule", "changes"), [("bidirectional", True), ("causal", False)])
def test_prompt_words_reach_image_positions_only_through_a_bidirectional_prefix(rule, changes):
    processor = make_processor(replace(SpatialVLAConfig.tiny(), prefix_attention=rule))
    model = build_model(processor.config, seed=0).eval()
    inputs = processor.collate(**make_frames(np.random.default_rng(0), 1))
    other = {**inputs, "input_ids": inputs["input_ids"].clone()}
    other["input_ids"][0, -3:-1] = other["input_ids"][0, [-2, -3]]
    count = processor.config.image_tokens
    before, after = model(**inputs).logits[:, :count], model(**other).logits[:, :count]
    assert (not torch.equal(before, after)) == changes


@torch.no_grad()
def test_loss_is_the_mean_cross_entropy_of_the_suffix_over_the_whole_vocabulary(processor, model):
    inputs = training_inputs(processor, np.random.default_rng(0))
    output = model(**inputs)
    labels = inputs.pop("labels")
    types = torch.zeros_like(inputs["input_ids"])
    types[:, -labels.shape[1] :] = 1
    logits = model(**inputs, token_type_ids=types).logits[:, -labels.shape[1] - 1 : -1]
    chosen = logits.double().log_softmax(-1).gather(-1, labels[..., None])
    assert labels.shape == (3, 13)
    torch.testing.assert_close(output.loss.double(), -chosen.mean(), atol=1e-6, rtol=0)


@torch.no_grad()
def test_padding_does_not_change_a_samples_loss(processor, model):
    rng = np.random.default_rng(0)
    frames, actions = make_frames(rng, 3), demonstration_actions(rng, 12).reshape(3, 4, 7)
    together = processor.collate(**frames, actions=actions)
    assert not together["attention_mask"].all()
    alone = [
        model(
            **processor.collate(
                **{name: value[i : i + 1] for name, value in frames.items()}, actions=actions[i : i + 1]
            )
        )
        for i in range(3)
    ]
    torch.testing.assert_close(model(**together).loss, torch.stack([output.loss for output in alone]).mean())


@torch.no_grad()
def test_content_and_place_of_padding_do_not_matter(processor, model):
    inputs = training_inputs(processor, np.random.default_rng(0))
    expected = model(**inputs).loss
    padded = {**inputs, "input_ids": inputs["input_ids"].masked_fill(~inputs["attention_mask"], 7)}
    torch.testing.assert_close(model(**padded).loss, expected)
    right = {
        **inputs,
        "input_ids": torch.nn.functional.pad(inputs["input_ids"], (0, 2), value=7),
        "attention_mask": torch.nn.functional.pad(inputs["attention_mask"], (0, 2)),
        "labels": torch.nn.functional.pad(inputs["labels"], (0, 2), value=-100),
    }
    torch.testing.assert_close(model(**right).loss, expected)


@torch.no_grad()
def test_without_ego3d_neither_depth_nor_calibration_matters():
    processor = make_processor(replace(SpatialVLAConfig.tiny(), use_ego3d=False))
    model = build_model(processor.config, seed=0).eval()
    assert not any("position_embedding_3d" in name for name in model.state_dict())
    frames = make_frames(np.random.default_rng(0), 2)
    other = {**frames, "depth": frames["depth"] * 2, "intrinsics": frames["intrinsics"] * [[2], [2], [1]]}
    other["base_from_camera"] = np.tile(np.eye(4), (2, 1, 1))
    first, second = processor.collate(**frames), processor.collate(**other)
    assert set(first) == {"input_ids", "attention_mask", "pixel_values", "state"}
    assert torch.equal(model(**first).logits, model(**second).logits)


@torch.no_grad()
def test_points_in_the_tool_frame_move_with_the_tool(processor, model):
    frames = make_frames(np.random.default_rng(0), 1)
    near = processor.collate(**frames, base_from_tool=np.eye(4)[None])
    shifted = np.eye(4)[None].copy()
    shifted[0, :3, 3] = [0.1, 0.2, 0.3]
    far = processor.collate(**frames, base_from_tool=shifted)
    points = [model.image_points(i["depth"], i["intrinsics"], i["frame_from_camera"]) for i in (near, far)]
    difference = (points[0] - points[1]).reshape(-1, 3)
    torch.testing.assert_close(difference, torch.tensor([[0.1, 0.2, 0.3]]).expand_as(difference), atol=1e-5, rtol=0)


def test_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone(processor):
    state = torch.random.get_rng_state()
    first, second = build_model(processor.config, seed=3), build_model(processor.config, seed=3)
    assert torch.equal(state, torch.random.get_rng_state())
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])


def test_a_few_steps_of_training_lower_the_loss(processor):
    model = build_model(processor.config, seed=0)
    inputs = training_inputs(processor, np.random.default_rng(0), batch=4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = model(**inputs).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_wrong_image_token_count_is_refused(processor, model):
    inputs = processor.collate(**make_frames(np.random.default_rng(0), 1))
    with pytest.raises(ValueError, match="16 ids"):
        model(**{**inputs, "input_ids": inputs["input_ids"][:, 1:], "attention_mask": inputs["attention_mask"][:, 1:]})


def test_missing_depth_is_refused(processor, model):
    inputs = processor.collate(**make_frames(np.random.default_rng(0), 1))
    del inputs["depth"]
    with pytest.raises(ValueError, match="depth and intrinsics"):
        model(**inputs)


def test_checkpointed_layers_give_the_same_gradients_from_less_that_is_kept(processor, model):
    inputs = training_inputs(processor, np.random.default_rng(0), 2)

    def gradients(trained):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.nbytes) or x, lambda x: x):
            loss = trained.train()(**inputs).loss
        loss.backward()
        return sum(kept), {name: p.grad for name, p in trained.named_parameters() if p.grad is not None}

    plain, checkpointed = copy.deepcopy(model), copy.deepcopy(model)
    checkpointed.enable_checkpointing()
    (kept, expected), (fewer, found) = gradients(plain), gradients(checkpointed)
    assert expected.keys() == found.keys()
    assert len(expected) > 50
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    assert fewer < 0.5 * kept
