from __future__ import annotations

import json
import math

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.optimize import linprog
from torch.nn import functional as F  # noqa: N812

from policies.rdt.encoder_tower import EncoderTower
from representation.data.frames import DEPTH, SEGMENTATION, Frames, write_frames
from representation.interface import DenseEncoder
from representation.pretrain import main as pretrain_main
from representation.pretraining import mochi
from representation.pretraining.madeleine import (
    BagEncoder,
    Config,
    LossConfig,
    MemoryBags,
    MultiModalPretrainer,
    PretrainerConfig,
    StoredBags,
    few_shot_probe,
    graph_optimal_transport,
    ipot,
    load_released,
    multi_modal_loss,
    new,
    sensor_pictures,
    smooth_rank,
    symmetric_info_nce,
)
from representation.pretraining.madeleine.few_shot import main as few_shot_main
from representation.pretraining.madeleine.optimal_transport import gromov_wasserstein
from representation.pretraining.madeleine.pretrain_bags import main as bags_main
from representation.pretraining.madeleine.retrieve import main as retrieve_main
from representation.registry import load_encoder

SIZE, LOSS = 16, LossConfig(temperature=0.1, local_weight=0.1, intra_weight=0.5, n_tokens=4)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed))


def bag_encoder(**changes):
    sizes = {"in_dim": 6, "hidden_dim": 16, "n_heads": 3, "token_dim": 8} | changes
    return BagEncoder(**sizes, generator=seeded(5)).eval()


def squares(count=96, seed=0, missing=()):
    """A square of a random colour at a random place, its depth and its kind; depth is unknown in some frames."""
    rng = np.random.default_rng(seed)
    images = np.full((count, SIZE, SIZE, 3), 90, np.uint8)
    depth, kinds = np.full((count, SIZE, SIZE), 9000, np.uint16), np.zeros((count, SIZE, SIZE), np.uint8)
    labels = rng.integers(1, 3, count)
    for index, label in enumerate(labels):
        top, left, side = *rng.integers(0, SIZE - 6, 2), 4 + 2 * (label - 1)
        part = (index, slice(top, top + side), slice(left, left + side))
        images[part], depth[part], kinds[part] = rng.integers(120, 256, 3), rng.integers(4000, 8000), label
    depth[list(missing)] = 0
    columns = {DEPTH: depth, SEGMENTATION: kinds, "label": labels - 1}
    names = {SEGMENTATION: ("table", "small", "large"), "label": ("small", "large")}
    return Frames(images, np.arange(count), columns, names)


def test_the_order_of_tokens_and_padding_change_nothing():
    encoder, tokens = bag_encoder(), drawn(4, 10, 6)
    found = encoder(tokens)
    order = torch.randperm(10, generator=seeded())
    torch.testing.assert_close(encoder(tokens[:, order]).embedding, found.embedding, atol=1e-5, rtol=0)
    padded = torch.cat([tokens, 100 * drawn(4, 5, 6, seed=1)], dim=1)
    for activation in ("softmax", "sigmoid"):
        other = bag_encoder(activation=activation)
        mask = torch.arange(15).expand(4, 15) < 10
        with_padding = other(padded, mask=mask)
        torch.testing.assert_close(with_padding.embedding, other(tokens).embedding, atol=1e-5, rtol=0)
        assert not with_padding.attention[:, 10:].any()
    torch.testing.assert_close(found.attention.sum(dim=1), torch.ones(4, 3))


def test_heads_are_the_fastest_index_of_released_weights():
    encoder, tokens = bag_encoder(), drawn(2, 5, 6)
    state = encoder.state_dict()
    shapes = {name: tuple(value.shape) for name, value in bag_encoder(n_modalities=2).state_dict().items()}
    assert shapes["wsi_embedders.pre_attn.8.weight"] == (48, 16)
    assert shapes["wsi_embedders.attn.2.attention_c.weight"] == (1, 16)
    assert shapes["projector.weight"] == (16, 48)
    assert shapes["embedding.weight"] == (2, 32)
    x = tokens
    for place in (0, 4, 8):
        weight, bias, gain, shift = (
            state[f"wsi_embedders.pre_attn.{number}.{part}"]
            for number in (place, place + 1)
            for part in ("weight", "bias")
        )
        x = F.gelu(F.layer_norm(x @ weight.T + bias, (len(weight),), gain, shift))
    pooled = torch.zeros(2, 48)
    for k in range(3):
        own = x[..., k::3]

        def linear(part, values, head=k):
            name = f"wsi_embedders.attn.{head}.attention_{part}"
            return values @ state[f"{name}.weight"].T + state[f"{name}.bias"]

        scores = linear("c", torch.tanh(linear("a.0", own)) * torch.sigmoid(linear("b.0", own)))[..., 0]
        pooled[:, k::3] = (scores.softmax(dim=1)[..., None] * own).sum(dim=1)
    found = encoder(tokens)
    torch.testing.assert_close(found.embedding, pooled @ state["projector.weight"].T + state["projector.bias"])
    local = x @ state["token_projector.weight"].T + state["token_projector.bias"]
    torch.testing.assert_close(found.tokens, local)


def test_codes_belong_to_the_bags_they_are_given_for():
    encoder, tokens = bag_encoder(n_modalities=3), drawn(4, 5, 6)
    together = encoder(tokens, torch.tensor([2, 0, 1, 2])).embedding
    for row, modality in enumerate((2, 0, 1, 2)):
        torch.testing.assert_close(together[row : row + 1], encoder(tokens[row : row + 1], modality).embedding)
    torch.testing.assert_close(encoder(tokens).embedding, encoder(tokens, 0).embedding)
    assert not torch.allclose(encoder(tokens, 1).embedding, encoder(tokens, 0).embedding)
    with pytest.raises(ValueError, match="modality: expected numbers below 3, found"):
        encoder(tokens, 3)


def test_halves_of_two_tokens_are_the_tokens():
    encoder, tokens = bag_encoder(), drawn(6, 2, 6)
    alone = torch.stack([encoder(tokens[:, place : place + 1]).embedding for place in (0, 1)], dim=1)
    first, second = encoder.halves(tokens, 0, seeded(1))
    torch.testing.assert_close(first + second, alone.sum(dim=1))
    swapped = [not torch.allclose(one, pair[0], atol=1e-5) for one, pair in zip(first, alone, strict=True)]
    assert 0 < sum(swapped) < 6
    with pytest.raises(ValueError, match="at least 2 to make halves of, found 1"):
        encoder.halves(tokens[:, :1], 0, seeded())


def test_plans_of_ipot_have_uniform_margins_and_the_least_cost():
    cost = torch.rand(4, 32, 48, generator=seeded())
    plan = ipot(cost, 0.5, 50)
    torch.testing.assert_close(plan.sum(dim=1), torch.full((4, 48), 1 / 48), atol=1e-6, rtol=0)
    torch.testing.assert_close(plan.sum(dim=2), torch.full((4, 32), 1 / 32), atol=1e-3, rtol=0)
    cost = torch.rand(3, 8, 8, generator=seeded(1))
    margins = np.vstack([np.kron(np.eye(8), np.ones(8)), np.kron(np.ones(8), np.eye(8))])
    for one, own in zip(cost, ipot(cost, 0.5, 500), strict=True):
        least = linprog(one.numpy().ravel(), A_eq=margins, b_eq=np.full(16, 1 / 8)).fun
        assert float((one * own).sum()) == pytest.approx(least, rel=0.01)
    huge = ipot(1e4 * cost, 1e-3, 5)
    torch.testing.assert_close(huge.sum(dim=1), torch.full((3, 8), 1 / 8), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="cost: expected finite"):
        ipot(cost / 0, 0.5, 5)


def test_transport_to_a_permutation_costs_less_than_to_other_tokens():
    for seed in range(20):
        x, y = drawn(2, 12, 8, seed=seed).requires_grad_(), drawn(2, 12, 8, seed=100 + seed)
        same = graph_optimal_transport(x, x[:, torch.randperm(12, generator=seeded(seed))])
        other = graph_optimal_transport(x, y)
        assert float(same) < float(other)
        (gradient,) = torch.autograd.grad(other, x)
        assert torch.isfinite(gradient).all()
        assert gradient.any()


def test_pairs_within_sets_count_whatever_lies_between_the_sets():
    places = drawn(1, 6, 2)
    inner = torch.cdist(places, places)
    order = torch.randperm(6, generator=seeded())
    same = gromov_wasserstein(inner, inner[:, order][:, :, order])
    other = gromov_wasserstein(inner, 3 * inner)
    assert float(other) > float(same) + 0.1


def test_transported_tokens_are_drawn_from_all_of_a_bag():
    x = drawn(1, 64, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(graph_optimal_transport(x, drawn(1, 64, 4, seed=1), 16, seeded()), x)
    touched = gradient.abs().sum(dim=2)[0] > 0
    assert 8 < int(touched.sum()) <= 16
    assert touched[16:].any()
    with pytest.raises(ValueError, match="generator: expected one to draw 16 of 64"):
        graph_optimal_transport(x, x, 16)


def test_info_nce_of_known_pairs():
    pairs = torch.eye(16)
    assert float(symmetric_info_nce(pairs, 3 * pairs, 0.1)) == pytest.approx(math.log(1 + 15 * math.exp(-10)), abs=1e-6)
    encoder = bag_encoder(hidden_dim=32)
    a, b = (encoder(drawn(32, 10, 6, seed=seed)).embedding for seed in (0, 1))
    assert symmetric_info_nce(a, b, 1.0).item() == pytest.approx(math.log(32), abs=0.3)
    with pytest.raises(ValueError, match="temperature: expected positive, found 0"):
        symmetric_info_nce(a, b, 0)


def test_what_a_missing_modality_holds_changes_nothing():
    encoder, tokens = bag_encoder(n_modalities=3), drawn(5, 3, 6, 6)
    available = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 1], [1, 1, 0], [0, 1, 1]])
    loss = multi_modal_loss(encoder, tokens, available, LOSS, seeded())
    assert loss.modalities == 2
    assert set(loss.parts) == {"global", "local", "intra"}
    weighted = loss.parts["global"] + 0.1 * loss.parts["local"] + 0.5 * loss.parts["intra"]
    torch.testing.assert_close(loss.total, weighted)
    changed = tokens.clone()
    changed[available == 0] = torch.nan
    assert torch.equal(multi_modal_loss(encoder, changed, available, LOSS, seeded()).total, loss.total)
    alone = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 0, 1], [1, 0, 0], [0, 1, 1]])
    nothing = multi_modal_loss(encoder, tokens, alone, LOSS, seeded())
    assert (nothing.modalities, float(nothing.total)) == (0, 0.0)
    nothing.total.backward()
    assert not encoder.projector.weight.grad.any()


def test_the_smooth_rank_counts_directions():
    assert smooth_rank(np.eye(8)) == pytest.approx(8, rel=1e-4)
    assert smooth_rank(np.outer(np.arange(1, 9), np.ones(5))) == pytest.approx(1, rel=1e-4)
    share = np.array([2, 1]) / 3
    assert smooth_rank(np.diag([2.0, 1.0])) == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-4)
    with pytest.raises(ValueError, match="not all zero"):
        smooth_rank(np.zeros((3, 2)))


def test_a_probe_on_few_labels_tells_what_can_be_told():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 30)
    telling = 5 * np.eye(3)[labels] + rng.normal(size=(90, 3))
    good, bad = (few_shot_probe(z, labels, 5, folds=4) for z in (telling, rng.normal(size=(90, 3))))
    assert good.auc.shape == (4,)
    assert good.balanced_accuracy.mean() > 0.95
    assert good.auc.mean() > 0.95
    assert abs(bad.auc.mean() - 0.5) < 0.15
    assert few_shot_probe(telling[:60], labels[:60], 5, folds=2).auc.mean() > 0.95
    with pytest.raises(ValueError, match="of more than 30 samples"):
        few_shot_probe(telling, labels, 30)


def pretrainer(**changes):
    config = {"loss": LossConfig(0.1, 1.0, 0.0), "epochs": 8, "batch_size": 16, "n_tokens": 6, "lr": 3e-3}
    return PretrainerConfig(**config | {"warmup_epochs": 1, "bfloat16": False, "seed": 0} | changes)


def test_training_lowers_the_loss_and_keeps_the_stage_of_largest_rank():
    seen = drawn(48, 1, 6, 6)
    bags = MemoryBags(seen + 0.1 * drawn(48, 2, 6, 6, seed=1), ("camera", "depth"))
    encoder = bag_encoder(dropout=0.0, gate_dropout=0.0)
    history = MultiModalPretrainer(encoder, pretrainer(ranked_after=3)).fit(bags)
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert not encoder.training
    ranks = [row["smooth_rank"] for row in history]
    best = 3 + int(np.argmax(ranks[3:]))
    again = bag_encoder(dropout=0.0, gate_dropout=0.0)
    stop = MultiModalPretrainer(again, pretrainer(ranked_after=99))
    stop.learning_rate = MultiModalPretrainer(again, pretrainer()).learning_rate
    stop.config = pretrainer(epochs=best + 1, ranked_after=99)
    stop.fit(bags)
    torch.testing.assert_close(again.projector.weight, encoder.projector.weight, atol=1e-4, rtol=1e-3)


def test_the_learning_rate_rises_and_falls_as_told():
    trainer = MultiModalPretrainer(bag_encoder(), PretrainerConfig())
    assert trainer.learning_rate(0, 10) == pytest.approx(1e-9)
    assert trainer.learning_rate(50, 10) == pytest.approx(1e-4)
    assert trainer.learning_rate(1200, 10) == pytest.approx(1e-8)


def test_samples_that_cannot_be_paired_are_refused():
    lonely = MemoryBags(drawn(4, 2, 6, 6), ("camera", "depth"), torch.tensor([[1, 0]] * 4))
    with pytest.raises(ValueError, match="two samples share a modality, found none"):
        MultiModalPretrainer(bag_encoder(), pretrainer(epochs=1)).fit(lonely)
    with pytest.raises(ValueError, match="expected tokens of 6 numbers"):
        MultiModalPretrainer(bag_encoder(), pretrainer()).fit(MemoryBags(drawn(4, 2, 6, 5), ("a", "b")))
    with pytest.raises(ValueError, match="tokens: expected finite"):
        MemoryBags(drawn(4, 2, 6, 6) / 0, ("a", "b"))


def test_slides_are_read_trained_on_and_left_as_released_weights(tmp_path):
    rows = ["slide_id,split,ER,HE"]
    for index in range(8):
        has = index != 3
        rows.append(f"s{index},{'test' if index > 5 else 'train'},{int(has)},1")
        for modality in ("HE", "ER") if has else ("HE",):
            with h5py.File(tmp_path / f"s{index}_{modality}.h5", "w") as file:
                file["features"] = drawn(3 + 4 * (index % 2), 6, seed=index).numpy()
    table = tmp_path / "table.csv"
    table.write_text("\n".join(rows) + "\n")
    bags = StoredBags(tmp_path, table, "train", "HE")
    assert (len(bags), bags.modalities, bags.width) == (6, ("HE", "ER"), 6)
    tokens, available = bags.sample(3, 5, seeded())
    assert available.tolist() == [True, False]
    assert not tokens[1].any()
    assert len(tokens[0].unique(dim=0)) == 5, "of seven, each once"
    assert 1 <= len(bags.sample(2, 5, seeded())[0][0].unique(dim=0)) <= 3
    words = ["--features", str(tmp_path), "--table", str(table), "--output", str(tmp_path / "run"), "--reference", "HE"]
    words += ["--hidden-dim", "8", "--n-heads", "2", "--token-dim", "4", "--codes", "--epochs", "1", "--n-tokens", "4"]
    bags_main([*words, "--batch-size", "3", "--threads", "1", "--loss.temperature", "0.1"])
    encoder = load_released(tmp_path / "run" / "model.safetensors")
    assert (encoder.in_dim, encoder.hidden_dim, encoder.n_heads, encoder.n_modalities) == (6, 8, 2, 2)
    with np.load(tmp_path / "run" / "vectors.npz") as file:
        assert file["slide_id"].tolist() == [f"s{index}" for index in range(8)]
        own = encoder(bags.bag(0, "HE")[None]).embedding.detach()
        np.testing.assert_allclose(file["vectors"][:1], own, atol=1e-5)
    state = {f"module.{name}": value for name, value in load_file(tmp_path / "run" / "model.safetensors").items()}
    save_file(state, tmp_path / "theirs.safetensors")
    torch.testing.assert_close(load_released(tmp_path / "theirs.safetensors").state_dict(), encoder.state_dict())
    save_file({k: v for k, v in state.items() if "attn.1.attention_c.bias" not in k}, tmp_path / "less.safetensors")
    with pytest.raises(ValueError, match=r"attn\.1\.attention_c\.bias: expected shape \(1,\), found None"):
        load_released(tmp_path / "less.safetensors")
    table.write_text("slide_id,split,HE,ER\ns0,train,1,2\n")
    with pytest.raises(ValueError, match=r"s0: expected 0 or 1 for each modality, found \['1', '2'\]"):
        StoredBags(tmp_path, table)


def test_a_sensor_that_a_frame_lacks_is_left_out():
    frames = squares(8, missing=(0, 2))
    depth, there = sensor_pictures(frames, np.arange(8), DEPTH, (0.4, 0.9))
    assert there.tolist() == [False, True, False, True, True, True, True, True]
    assert not depth[[0, 2]].any()
    near = frames.columns[DEPTH][1].min() / 10_000
    assert float(depth[1].max()) == pytest.approx((0.9 - near) / 0.5, abs=1e-5)
    columns = dict(frames.columns) | {"segmentation_available": np.array([1, 1, 1, 1, 0, 0, 1, 1])}
    frames = Frames(frames.images, frames.episode, columns | {"wrist": frames.images}, frames.names)
    objective = new(Config(resolution=SIZE, patch=4, width=16, sensors=(DEPTH, SEGMENTATION, "wrist")), frames, 0)
    batch = objective.batch(frames, np.arange(8), seeded())
    assert batch["pictures"].shape == (8, 4, 3, SIZE, SIZE)
    assert batch["available"].sum(dim=0).tolist() == [8, 6, 6, 8]
    tokens = objective.encoder.tokens(frames.pixels(np.arange(8)), "image")
    assert tokens.shape == (8, 16, 48 + 16)
    assert abs(tokens[..., :48].mean()) < 1e-5, "all sensors have one scale"
    loss = objective(batch).total
    batch["pictures"] = torch.where(batch["available"][..., None, None, None], batch["pictures"], 0.7)
    torch.testing.assert_close(objective(batch).total, loss, atol=0, rtol=0)
    with pytest.raises(ValueError, match=r"expected a column of \['depth', 'segmentation'\]"):
        new(Config(), Frames(frames.images, frames.episode), 0)


def test_a_run_finds_depth_by_colour_and_is_a_policys_tower(tmp_path, capsys):
    frames = squares(160, missing=range(20))
    write_frames(frames, tmp_path / "data")
    words = ["--system", "madeleine", "--data", str(tmp_path / "data"), "--output", str(tmp_path / "run")]
    words += ["--steps", "80", "--batch-size", "32", "--lr", "5e-3", "--warmup-steps", "5", "--average-decay", "0.5"]
    words += ["--validation-episodes", "64", "--validate-every", "80", "--threads", "1"]
    sizes = [f"resolution={SIZE}", "patch=4", "width=32", "heads=2", "n_tokens=4"]
    pretrain_main([*words, "--set", *sizes, "sensors=depth"])
    places = ["--encoder", str(tmp_path / "run"), "--data", str(tmp_path / "data")]
    capsys.readouterr()
    retrieve_main([*places, "--held-out", "64"])
    first, second = capsys.readouterr().out.splitlines()
    count = int(first.split()[3])
    assert first.startswith("image -> depth")
    assert 40 < count < 64, "frames without depth are no part of it"
    assert float(second.split()[1]) >= 4 / count
    few_shot_main([*places, "--shots", "5", "--folds", "2"])
    assert len(capsys.readouterr().out.splitlines()) == 3
    encoder = load_encoder(tmp_path / "run")
    assert isinstance(encoder, DenseEncoder)
    tower = EncoderTower.from_directory(tmp_path / "run", 24)
    assert (tower.tokens_per_image, tower.width) == (16, 32)
    pixels = frames.pixels(np.arange(4))
    with pytest.raises(ValueError, match="sensor: expected one of image, depth, found 'sound'"):
        encoder.encode_sensor(pixels, "sound")
    torch.testing.assert_close(encoder.dense(pixels)[1].sum(dim=(1, 2)), torch.ones(4))
    with pytest.raises(ValueError, match=r"frames: expected \['sound'\]"):
        retrieve_main([*places, "--held-out", "64", "--gallery", "sound"])


def test_tokens_may_come_from_a_frozen_encoder(tmp_path):
    frames = squares(8)
    mochi.new(mochi.Config(), frames, 0).encoder.save(tmp_path / "base")
    objective = new(Config(base=str(tmp_path / "base"), width=16), frames, 0).train()
    assert not objective.encoder.base.training
    objective(objective.batch(frames, np.arange(8), seeded())).total.backward()
    assert all(parameter.grad is None for parameter in objective.encoder.base.parameters())
    encoder = objective.encoder.eval()
    encoder.save(tmp_path / "saved")
    again = load_encoder(tmp_path / "saved")
    pixels = frames.pixels(np.arange(8))
    torch.testing.assert_close(again.encode(pixels), encoder.encode(pixels))
    content = json.loads((tmp_path / "saved" / "encoder.json").read_text())
    del content["config"]["sensors"]
    (tmp_path / "saved" / "encoder.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="expected the configuration of a madeleine encoder"):
        load_encoder(tmp_path / "saved")


def test_wrong_sizes_and_shapes_are_refused():
    with pytest.raises(ValueError, match="resolution, patch: expected a multiple of the patch, found 48 and 7"):
        Config(patch=7)
    with pytest.raises(ValueError, match="activation: expected one of"):
        BagEncoder(4, activation="tanh")
    with pytest.raises(ValueError, match=r"tokens: expected \(B, N, 6\), found \(2, 3, 5\)"):
        bag_encoder()(drawn(2, 3, 5))
    with pytest.raises(ValueError, match="with a token in each bag"):
        bag_encoder()(drawn(2, 3, 6), mask=torch.tensor([[True] * 3, [False] * 3]))
    with pytest.raises(ValueError, match=r"tokens, available: expected \(B, M, N, d\)"):
        multi_modal_loss(bag_encoder(), drawn(2, 3, 6), torch.ones(2, 3), LOSS, seeded())
