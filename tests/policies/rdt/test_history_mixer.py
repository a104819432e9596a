from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from policies.rdt.checkpoint import load_model, save_model
from policies.rdt.config import RDTConfig
from policies.rdt.history_mixer import HistoryMixer
from policies.rdt.network import build_model
from tests.policies.rdt.conftest import conditions_of, random_inputs, random_model

MIXERS = ("ponet", "attention")
STEPS = 20


def mixer_of(kind: str) -> HistoryMixer:
    torch.manual_seed(0)
    mixer = HistoryMixer(kind, 5, STEPS, 8).eval()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return mixer


def config_of(kind: str) -> RDTConfig:
    return replace(RDTConfig.tiny(), history_steps=STEPS, history_mixer=kind)


@pytest.mark.parametrize("kind", MIXERS)
def test_what_is_not_there_changes_nothing_and_the_order_of_what_is_counts(kind):
    mixer, steps = mixer_of(kind), torch.randn(2, STEPS, 5)
    present = torch.arange(STEPS).expand(2, -1) >= torch.tensor([[7], [12]])
    other = torch.where(present[..., None], steps, 1e3)
    vectors = mixer(steps, present)
    torch.testing.assert_close(mixer(other, present), vectors, atol=1e-6, rtol=1e-5)
    assert (mixer(steps.flip(1), torch.ones_like(present)) - mixer(steps, torch.ones_like(present))).abs().max() > 1e-3
    torch.testing.assert_close(mixer(steps[:1], present[:1]), vectors[:1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", MIXERS)
def test_nothing_known_is_zero_and_gives_finite_gradients(kind):
    mixer = mixer_of(kind)
    found = mixer(torch.randn(2, STEPS, 5), torch.arange(2)[:, None].expand(-1, STEPS) == 1)
    assert not found[0].any()
    assert found[1].any()
    found.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in mixer.parameters())


@pytest.mark.parametrize("kind", MIXERS)
def test_a_fresh_history_changes_no_chunk_and_a_trained_one_does(kind):
    inputs = random_inputs(RDTConfig.tiny())
    joints, present = torch.randn(2, STEPS, 128), torch.ones(2, STEPS, dtype=torch.bool)
    model = build_model(config_of(kind), 0)
    plain = random_model()
    model.load_state_dict(plain.state_dict(), strict=False)

    def predict(network, known=True, history=None):
        history = network.encode_history(joints, present) if known and history is None else history
        conditions = replace(conditions_of(network, inputs), history=history)
        mask = inputs["mask"].expand(2, 1, -1)
        steps = torch.tensor([3, 700])
        return network(inputs["state"][:, None], inputs["noise"], mask, steps, inputs["frequency"], conditions)

    with torch.no_grad():
        assert torch.equal(predict(model), predict(plain))
        torch.nn.init.normal_(model.history.project.weight)
        assert (predict(model) - predict(plain)).abs().max() > 1e-3
        with pytest.raises(ValueError, match="history: expected one, found none"):
            predict(model, known=False)
        with pytest.raises(ValueError, match="history: expected none, found one"):
            predict(plain, history=torch.zeros(2, 64))
    with pytest.raises(ValueError, match=f"history: expected {STEPS} control steps, found 19"):
        model.encode_history(joints[:, 1:], present[:, 1:])


@pytest.mark.parametrize("kind", MIXERS)
def test_a_network_with_a_history_comes_back_with_and_without_its_configuration(tmp_path, kind):
    model = random_model(config=config_of(kind))
    save_model(model, tmp_path)
    for source in (tmp_path, tmp_path / "model.safetensors"):
        loaded = load_model(source)
        assert loaded.config == model.config
        for name, value in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value), name
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace(f'"steps": {STEPS}', '"steps": 7'))
    with pytest.raises(ValueError, match=f"history_steps: expected {STEPS}, as the weights have it, found 7"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text(text.replace(f'"steps": {STEPS}', '"steps": "all"'))
    with pytest.raises(ValueError, match="history: expected 'mixer' and a number of 'steps'"):
        load_model(tmp_path)


def test_without_a_history_nothing_is_saved_of_it():
    assert "history" not in RDTConfig.tiny().to_dict()
    assert not any("history" in name for name in random_model().state_dict())


@pytest.mark.parametrize("change", [{"history_steps": 1}, {"history_steps": -5}, {"history_mixer": "lstm"}])
def test_histories_that_cannot_be_are_refused(change):
    with pytest.raises(ValueError, match=r"history_(steps|mixer): expected"):
        replace(RDTConfig.tiny(), **change)
