from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F  # noqa: N812

from representation.data.frames import Frames, write_frames
from representation.pretrain import main as pretrain_main
from representation.pretraining.mochi import (
    Config,
    HardNegativeMixer,
    MoCo,
    false_negative_rate,
    matching_probabilities,
    mochi_logits,
    mochi_loss,
    new,
)
from representation.registry import load_encoder

TAU = 0.2


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def units(count, width, seed):
    return F.normalize(torch.randn(count, width, generator=seeded(seed)), dim=1)


@pytest.fixture(scope="module")
def frames():
    images = np.random.default_rng(0).integers(0, 255, (32, 32, 32, 3), dtype=np.uint8)
    return Frames(images, np.arange(32))


def test_synthetic_negatives_are_constant_unit_vectors():
    q = units(5, 16, 0).requires_grad_()
    found = HardNegativeMixer(8, 6, 3)(q, units(64, 16, 1), seeded())
    assert found.shape == (5, 9, 16)
    assert not found.requires_grad
    torch.testing.assert_close(found.norm(dim=2), torch.ones(5, 9), atol=1e-6, rtol=0)


def test_the_gradient_takes_synthetic_negatives_as_constants():
    q, k, queue, mixer = units(4, 16, 0).requires_grad_(), units(4, 16, 1), units(64, 16, 2), HardNegativeMixer(8, 6, 3)
    mochi_loss(mochi_logits(q, k, queue, mixer, TAU, seeded())).total.backward()
    for i in range(4):
        synthetic = mixer(q.detach(), queue, seeded())[i]
        others = torch.cat([k[i : i + 1], queue, synthetic])
        p = (others @ q[i].detach() / TAU).softmax(dim=0)
        expected = (p @ others - k[i]) / TAU / 4
        torch.testing.assert_close(q.grad[i], expected, atol=1e-5, rtol=0)


def test_mixtures_of_two_keys_lie_on_the_arc_between_them():
    q, queue = units(6, 8, 0), units(2, 8, 1)
    for h in HardNegativeMixer(2, 20, 0)(q, queue, seeded()).flatten(0, 1):
        share = torch.linalg.lstsq(queue.T, h[:, None]).solution
        torch.testing.assert_close(queue.T @ share, h[:, None], atol=1e-5, rtol=0)
        assert (share > -1e-5).all()


def test_mixtures_with_the_query_are_nearer_to_it_but_less_than_half_of_it():
    q, queue = units(6, 8, 0), units(30, 8, 1)
    hardest = queue[(q @ queue.T).argmax(dim=1)]
    found = HardNegativeMixer(1, 0, 20)(q, queue, seeded())
    for query, n, mixtures in zip(q, hardest, found, strict=True):
        sources = torch.stack([query, n], dim=1)
        share = torch.linalg.lstsq(sources, mixtures.T).solution
        torch.testing.assert_close(sources @ share, mixtures.T, atol=1e-5, rtol=0)
        assert (share > -1e-5).all()
        assert (share[0] < share[1]).all()
        assert (mixtures @ query >= query @ n - 1e-6).all()


def test_every_step_of_the_mixing_makes_harder_negatives():
    q, queue, n_hard = units(16, 32, 0), units(2048, 32, 1), 64
    similarities = q @ queue.T
    hardest = similarities.topk(n_hard, dim=1).values.mean()
    found = torch.einsum("bd,bnd->bn", q, HardNegativeMixer(n_hard, 512, 512)(q, queue, seeded()))
    mixed, with_query = found[:, :512].mean(), found[:, 512:].mean()
    assert with_query > hardest > similarities.mean()
    assert mixed >= hardest * (1 - 1e-6)


def test_fresh_shares_are_drawn_for_every_query_and_mixture():
    q = units(1, 8, 0).repeat(2, 1)
    found = HardNegativeMixer(4, 5, 5)(q, units(16, 8, 1), seeded())
    assert len(found.flatten(0, 1).unique(dim=0)) > 15
    again = HardNegativeMixer(4, 5, 5)(q, units(16, 8, 1), seeded())
    assert torch.equal(found, again)


def test_without_mixtures_it_is_moco_and_one_of_one_key_counts_it_twice():
    q, k, queue = units(4, 16, 0), units(4, 16, 1), units(64, 16, 2)
    expected, doubled = [], []
    for i in range(4):
        positive = math.exp(q[i] @ k[i] / TAU)
        negatives = [math.exp(q[i] @ n / TAU) for n in queue]
        expected.append(-math.log(positive / (positive + sum(negatives))))
        doubled.append(-math.log(positive / (positive + sum(negatives) + max(negatives))))
    for mixer in (None, HardNegativeMixer(8, 0, 0)):
        found = mochi_loss(mochi_logits(q, k, queue, mixer, TAU, seeded())).total
        assert float(found) == pytest.approx(np.mean(expected), abs=1e-6)
    found = mochi_loss(mochi_logits(q, k, queue, HardNegativeMixer(1, 1, 0), TAU, seeded())).total
    assert float(found) == pytest.approx(np.mean(doubled), abs=1e-6)


def test_synthetic_negatives_make_it_harder_for_every_query():
    q, k, queue = units(32, 16, 0), units(32, 16, 1), units(256, 16, 2)
    plain, mixed = (
        mochi_logits(q, k, queue, mixer, TAU, seeded()).log_softmax(dim=1)[:, 0]
        for mixer in (None, HardNegativeMixer(32, 16, 8))
    )
    assert (mixed < plain).all()


def test_the_queue_holds_the_last_keys_in_order():
    moco = MoCo(nn.Identity(), 8, 4, 12, 0.9, seeded())
    torch.testing.assert_close(moco.queue.norm(dim=1), torch.ones(12))
    keys = units(20, 4, 0)
    for first in range(0, 20, 4):
        moco.enqueue(keys[first : first + 4])
    assert int(moco.pointer) == 20 % 12
    assert torch.equal(moco.queue, torch.cat([keys[12:20], keys[8:12]]))
    with pytest.raises(ValueError, match="queue_size: expected a multiple of the batch of 5, found 12"):
        moco.enqueue(keys[:5])


def test_the_copy_follows_without_gradients_and_with_its_own_statistics():
    encoder = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8))
    moco = MoCo(encoder, 8, 4, 12, 0.9, seeded()).double()
    views = torch.randn(3, 4, 6, generator=seeded(1)).double()
    before = [parameter.clone() for parameter in moco.key.parameters()]
    q, k = moco.queries(views[0]), moco.keys(views[1])
    mochi_loss(mochi_logits(q, k, moco.queue.float(), None, TAU, seeded())).total.backward()
    trained = [*moco.encoder.parameters(), *moco.head.parameters()]
    torch.optim.SGD(trained, lr=0.5).step()
    moco.follow()
    for own, old, current in zip(moco.key.parameters(), before, trained, strict=True):
        torch.testing.assert_close(own, 0.9 * old + 0.1 * current, atol=1e-7, rtol=0)
        assert own.grad is None
    statistics = encoder[1].running_mean.clone()
    moco.keys(views[2])
    assert torch.equal(encoder[1].running_mean, statistics)
    assert not torch.equal(moco.key[0][1].running_mean, statistics)


def test_mixtures_begin_after_the_warm_up_and_only_training_moves_queue_and_copy(frames):
    objective = new(Config(queue_size=16, n_hard=8, n_mix=8, n_query_mix=8, warmup_batches=1), frames, 0)
    batch = objective.batch(frames, np.arange(8), seeded())
    assert not torch.equal(batch["query"], batch["key"])
    queue = objective.moco.queue.clone()
    q, k = objective.moco.queries(batch["query"]), objective.moco.keys(batch["key"])
    plain = mochi_loss(mochi_logits(q, k, queue, None, TAU, seeded())).total
    objective.eval()
    torch.testing.assert_close(objective(batch).total, plain)
    assert torch.equal(objective.moco.queue, queue)
    objective.train()
    torch.testing.assert_close(objective(batch).total, plain)  # the keys of a step are no negatives of their own
    assert torch.equal(objective.moco.queue[:8], k)
    mixer = HardNegativeMixer(8, 8, 8)
    generator = torch.Generator().manual_seed(int(batch["seed"]))
    mixed = mochi_loss(mochi_logits(q, k, objective.moco.queue, mixer, TAU, generator)).total
    torch.testing.assert_close(objective.eval()(batch).total, mixed)


def test_excluded_keys_are_neither_negatives_nor_mixed():
    q, k, queue = units(3, 8, 0), units(3, 8, 1), units(10, 8, 2)
    excluded = torch.zeros(3, 10, dtype=torch.bool)
    excluded[:, :5] = True
    mixer = HardNegativeMixer(5, 4, 4)
    found = mochi_logits(q, k, queue, mixer, TAU, seeded(), excluded)
    assert (found[:, 1:6] == -torch.inf).all()
    torch.testing.assert_close(found[:, 6:], mochi_logits(q, k, queue[5:], mixer, TAU, seeded())[:, 6 - 5 :])


def test_diagnostics_agree_with_a_hand_made_queue():
    q, k = torch.eye(3)[:1], F.normalize(torch.tensor([[1.0, 1.0, 0.0]]), dim=1)
    queue = torch.stack([torch.eye(3)[1], torch.eye(3)[0], -torch.eye(3)[0]])
    logits = mochi_logits(q, k, queue, None, 1.0, seeded())
    assert float(mochi_loss(logits).parts["missed_key"]) == 1.0
    assert float(mochi_loss(mochi_logits(q, q, queue[:1], None, 1.0, seeded())).parts["missed_key"]) == 0.0
    weights = np.exp([1.0, 0.0, -1.0])
    expected = torch.tensor(weights / (weights.sum() + math.exp(math.sqrt(0.5))), dtype=torch.float32)
    torch.testing.assert_close(matching_probabilities(logits), expected)
    labels = torch.tensor([7, 3, 7])
    assert false_negative_rate(q, torch.tensor([7]), queue, labels, 1) == 0.0
    assert false_negative_rate(q, torch.tensor([7]), queue, labels, 2) == 0.5


def test_mixers_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"n_hard, n_mix, n_query_mix: expected .* found \(0, 1, 1\)"):
        HardNegativeMixer(0, 1, 1)
    with pytest.raises(ValueError, match=r"beta_max: expected at most half of a mixture, found 0\.7"):
        HardNegativeMixer(1, 1, 1, 0.7)
    with pytest.raises(ValueError, match="n_hard: expected at most the 4 keys of the queue, found 5"):
        HardNegativeMixer(5, 1, 1)(units(2, 8, 0), units(4, 8, 1), seeded())


def test_a_run_goes_on_with_its_queue_and_leaves_an_encoder(frames, tmp_path):
    write_frames(frames, tmp_path / "data")
    runs = {name: tmp_path / name for name in ("whole", "parts")}
    words = ["--system", "mochi", "--data", str(tmp_path / "data"), "--batch-size", "8", "--threads", "1"]
    words += ["--warmup-steps", "1", "--final-lr", "1"]
    words += ["--set", "queue_size=32", "n_hard=8", "n_mix=8", "n_query_mix=4", "warmup_batches=1"]
    pretrain_main([*words, "--output", str(runs["whole"]), "--steps", "4"])
    pretrain_main([*words, "--output", str(runs["parts"]), "--steps", "2"])
    pretrain_main([*words, "--output", str(runs["parts"]), "--steps", "4", "--resume"])
    states = [load_file(run / "training_state.safetensors") for run in runs.values()]
    assert states[0]["model/moco.pointer"] == 0
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    assert load_encoder(runs["parts"]).width == Config().width
