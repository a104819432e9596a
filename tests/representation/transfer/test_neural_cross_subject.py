import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from representation.registry import load_model
from representation.transfer.neural_cross_subject import (
    CrossSubjectConfig,
    CrossSubjectModel,
    FitOptions,
    LowLevelModel,
    PriorConfig,
    SharedDecoder,
    SubjectAdapter,
    SubjectData,
    SubjectLoader,
    TokenDiffusionPrior,
    fit_joint,
    fit_known_subject,
    fit_low_level,
    fit_new_subject,
    mixco,
    mixco_nce,
    read_subject,
    retrieval_top1,
    soft_clip_loss,
    synthetic_subjects,
)
from representation.transfer.neural_cross_subject.contrast import cosine_between, mixco_labels
from representation.transfer.neural_cross_subject.model import TokenAttention
from representation.transfer.neural_cross_subject.prior import PriorNetwork, cosine_betas
from representation.transfer.neural_cross_subject.training import grouped, rounds, subject_losses, weighted_sum

SMALL = CrossSubjectConfig(
    hidden=16, n_blocks=2, n_tokens=3, token_dim=8, out_dim=12, heads=2, projector_dim=16, readouts={"tool": 3},
    prior=PriorConfig(layers=1, heads=2, feedforward=2, timesteps=20),
)  # fmt: skip
DIMS = {"panda": 16, "aloha": 28}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


def data(dim, count=20, seed=0, texts=False):
    return SubjectData(
        drawn(count, dim, seed=seed),
        drawn(count, 3, 12, seed=seed + 1),
        drawn(count, 2, 12, seed=seed + 2) if texts else None,
        {"tool": drawn(count, 3, seed=seed + 3)},
    )


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(before, after):
    return all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_step_of_one_subject_leaves_the_adapters_of_others_and_changes_the_decoder():
    model = CrossSubjectModel(DIMS, SMALL)
    others, own, shared = (state(part) for part in (model.adapters["aloha"], model.adapters["panda"], model.decoder))
    fit_joint(model, {"panda": SubjectLoader(data(16), 8)}, FitOptions(epochs=2))
    assert same(others, model.adapters["aloha"].state_dict())
    assert not same(own, model.adapters["panda"].state_dict())
    assert not same(shared, model.decoder.state_dict())


@pytest.mark.parametrize("together", [False, True])
def test_joint_training_repeats_itself_and_tells_losses_of_every_subject(together):
    logs = []
    for _ in range(2):
        model = CrossSubjectModel(DIMS, SMALL)
        loaders = {name: SubjectLoader(data(dim, texts=name == "panda"), 8) for name, dim in DIMS.items()}
        logs.append(fit_joint(model, loaders, FitOptions(epochs=4, mix_share=0.5, average_gradients=together)))
        assert not model.training
    assert logs[0] == logs[1]
    wanted = {f"{name}/{part}" for name in DIMS for part in ("contrast", "prior", "readout")}
    assert wanted <= set().union(*logs[0])
    assert [row["epoch"] for row in logs[0]] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_batches_are_cut_after_the_change_of_stages_and_shorter_subjects_begin_again():
    loaders = {"long": SubjectLoader(data(4, 33), 16), "short": SubjectLoader(data(4, 20), 16)}
    options = FitOptions(epochs=6, mix_share=0.34, settle_epochs=1, settle_batch=5)
    sizes = [
        (epoch, *(len(batch.signals) for batch in batches.values()))
        for epoch, batches in rounds(loaders, options, False)
    ]
    assert sizes == [(e, *((5, 5) if e == 2 else (16, 16))) for e in range(6) for _ in range(2)]


def test_a_new_subject_changes_nothing_but_its_adapter():
    model = CrossSubjectModel(DIMS, SMALL).eval()
    x = drawn(5, 16)
    before, whole = model(x, "panda"), state(model)
    model.add_subject("xarm7", 14)
    assert all(torch.equal(a, b) for a, b in zip(before, model(x, "panda"), strict=True))
    other = CrossSubjectModel(DIMS, SMALL)
    fit_new_subject(other, SubjectLoader(data(14), 8), "xarm7", options=FitOptions(epochs=3))
    assert same(whole, other.state_dict())
    assert all(parameter.requires_grad for parameter in other.parameters())
    fit_new_subject(other, SubjectLoader(data(14), 8), "ur5e", freeze_decoder=False, options=FitOptions(epochs=3))
    assert not same(state(model.decoder), other.decoder.state_dict())
    assert same(state(model.adapters["panda"]), other.adapters["panda"].state_dict())


def test_fine_tuning_on_a_known_subject_leaves_other_adapters_and_all_statistics():
    model = CrossSubjectModel({"a": 12, "b": 9}, SMALL)
    before = state(model)
    fit_known_subject(model, SubjectLoader(data(12), 8), "a", FitOptions(epochs=2, warmup_epochs=1))
    after = state(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("decoder.") for name in changed)
    assert any(name.startswith("adapters.a.") for name in changed)
    assert not any(name.startswith("adapters.b.") or name.endswith((".mean", ".deviation")) for name in changed)
    with pytest.raises(ValueError, match="subject: expected one of"):
        fit_known_subject(model, SubjectLoader(data(12), 8), "c")


def test_a_model_comes_back_equal(tmp_path):
    model = CrossSubjectModel(DIMS, SMALL, seed=3)
    model.add_subject("so101", 12)
    model.adapter("so101").set_statistics(drawn(9, 12, seed=4))
    model.save(tmp_path)
    found, x = load_model(tmp_path), drawn(4, 12)
    model.eval()
    assert all(torch.equal(a, b) for a, b in zip(found(x, "so101"), model(x, "so101"), strict=True))
    assert torch.equal(found.read(x, "so101", "tool"), model.read(x, "so101", "tool"))
    draws = [one.prior.sample(found(x, "so101")[0], generator()) for one in (found, model)]
    assert torch.equal(*draws)


def test_unmixed_signals_give_symmetric_cross_entropy():
    pred, target = (F.normalize(drawn(6, 5, seed=seed), dim=1) for seed in (0, 1))
    logits, own = pred @ target.T / 0.1, torch.arange(6)
    symmetric = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    perm = torch.randperm(6, generator=generator())
    assert float(mixco_nce(pred, target, 0.1, perm, torch.ones(6))) == pytest.approx(float(symmetric), abs=1e-6)


def test_labels_of_mixtures_sum_to_one_where_a_sample_keeps_its_place_too():
    perm, betas = torch.tensor([0, 2, 1, 3]), torch.tensor([0.3, 0.6, 1.0, 1.0])
    labels = mixco_labels(perm, betas)
    assert torch.allclose(labels.sum(dim=1), torch.ones(4))
    assert labels[0, 0] == pytest.approx(1.0)
    assert labels[1].tolist() == pytest.approx([0, 0.6, 0.4, 0])


def test_mixing_leaves_the_given_signals_and_mixes_as_written():
    x = drawn(200, 4)
    kept = x.clone()
    mixed, perm, betas = mixco(x, generator=generator(1))
    assert torch.equal(x, kept)
    assert torch.allclose(mixed, betas[:, None] * x + (1 - betas[:, None]) * x[perm])
    assert 0.35 < float((betas < 1).float().mean()) < 0.65
    assert torch.equal(mixco(x, generator=generator(1)).x, mixed)
    assert torch.equal(mixco(x, p=0.0).x, x)


def test_soft_clip_of_the_targets_themselves_is_the_entropy_of_their_likeness():
    target = F.normalize(drawn(7, 5), dim=1)
    likely = (target @ target.T / 0.2).softmax(dim=1)
    entropy = -(likely * likely.log()).sum(dim=1).mean()
    assert float(soft_clip_loss(target, target, 0.2)) == pytest.approx(float(entropy), abs=1e-6)
    assert float(soft_clip_loss(drawn(7, 5, seed=1), target, 0.2)) > float(entropy)
    assert [cosine_between(4.0, 6.0, done) for done in (0.0, 0.5, 1.0)] == pytest.approx([4.0, 5.0, 6.0])


def test_noise_at_the_end_of_the_diffusion_is_standard():
    prior = TokenDiffusionPrior(PriorNetwork(4, 8, PriorConfig(1, 2)), 100)
    start, noise = drawn(5000, 4, 8), drawn(5000, 4, 8, seed=1)
    last = prior.q_sample(start, torch.full((5000,), 99), noise)
    assert abs(float(last.mean())) < 0.02
    assert float(last.std()) == pytest.approx(1.0, abs=0.02)
    first = prior.q_sample(start, torch.zeros(5000, dtype=torch.long), noise)
    assert float((first - start).std()) < 0.05
    betas = cosine_betas(100)
    assert float((1 - betas).prod()) < 1e-5
    assert bool((betas[1:] >= betas[:-1]).all())


def test_sampling_is_repeated_by_its_generator_and_finds_what_was_learned():
    torch.manual_seed(0)
    prior = TokenDiffusionPrior(PriorNetwork(4, 32, PriorConfig(1, 2, 2, 10)), 10)
    target, cond = F.normalize(drawn(8, 4, 32), dim=2), drawn(8, 4, 32, seed=1)
    optimizer, draws = torch.optim.Adam(prior.parameters(), 5e-3), generator(2)
    for _ in range(400):
        optimizer.zero_grad()
        prior.loss(cond.repeat(2, 1, 1), target.repeat(2, 1, 1), draws).backward()
        optimizer.step()
    found = prior.sample(cond, generator(3))
    assert torch.equal(prior.sample(cond, generator(3)), found)
    assert prior.net.training
    assert float(F.cosine_similarity(found.flatten(1), target.flatten(1)).mean()) >= 0.95
    assert not torch.equal(prior.sample(cond, generator(3), guidance=2.0), found)


@pytest.mark.parametrize("n_tokens", [20, 257])
def test_training_sees_a_share_of_the_condition_and_evaluation_all(n_tokens):
    net = PriorNetwork(n_tokens, 4, PriorConfig(1, 2))
    tokens, times = drawn(2, n_tokens, 4), torch.zeros(2, dtype=torch.long)
    counts = set()
    for seed in range(8):
        net(tokens, times, tokens, generator=generator(seed))
        counts.add(net.kept.shape[1])
        assert all(len(row.unique()) == net.kept.shape[1] for row in net.kept)
    assert all(0.35 <= count / n_tokens <= 0.40 for count in counts)
    net.eval()(tokens, times, tokens)
    assert net.kept is None
    moved = drawn(2, n_tokens, 4)
    moved[:, -1] += 5
    assert not torch.allclose(net(tokens, times, moved), net(tokens, times, drawn(2, n_tokens, 4)))


def test_hidden_conditions_make_no_difference():
    net = PriorNetwork(3, 4, PriorConfig(1, 2)).eval()
    tokens, times, hidden = drawn(2, 3, 4), torch.tensor([3, 7]), torch.tensor([True, False])
    a, b = (net(tokens, times, drawn(2, 3, 4, seed=seed), hide_condition=hidden) for seed in (1, 2))
    assert torch.allclose(a[0], b[0])
    assert not torch.allclose(a[1], b[1])
    c, d = (net(drawn(2, 3, 4, seed=seed), times, tokens, hide_tokens=hidden) for seed in (1, 2))
    assert torch.allclose(c[0], d[0])
    assert not torch.allclose(c[1], d[1])


def test_shapes_are_the_papers():
    adapter = SubjectAdapter(30, 32)
    assert len(adapter.layers) == 5
    tokens = SharedDecoder(32, n_tokens=7, token_dim=16, out_dim=24)(adapter(drawn(3, 30)))
    assert tokens.shape == (3, 7, 24)
    whole = SharedDecoder(8)
    assert whole.to_tokens[2].out_features == 257 * 128
    assert whole.attention.qkv.out_features == 3 * 768
    assert [layer.out_features for layer in whole.last if hasattr(layer, "out_features")] == [1536, 768]
    backbone, projected = CrossSubjectModel(DIMS, SMALL)(drawn(2, 28), "aloha")
    assert backbone.shape == projected.shape == (2, 3, 12)


def test_attention_is_scaled_as_asked():
    torch.manual_seed(0)
    plain, published = (TokenAttention(8, 16, 2, reference_scale=flag).eval() for flag in (False, True))
    published.load_state_dict(plain.state_dict())
    x = drawn(2, 5, 8)
    q, k, v = plain.qkv(plain.norm(x)).unflatten(-1, (3, 2, 8)).unbind(2)
    scores = torch.einsum("bnhd,bmhd->bhnm", q, k)
    for module, factor in ((plain, 8**-0.5), (published, 8**0.5)):
        seen = torch.einsum("bhnm,bmhd->bnhd", (factor * scores).softmax(dim=-1), v).flatten(2)
        assert torch.allclose(module(x), x + module.out(seen), atol=1e-5)


def test_signals_are_normalised_and_joints_at_rest_do_no_harm():
    adapter = SubjectAdapter(3, 8).eval()
    signals = drawn(50, 3) * torch.tensor([100.0, 0.01, 0.0]) + 5
    adapter.set_statistics(signals)
    assert torch.isfinite(adapter(signals)).all()
    assert adapter.deviation[0] == pytest.approx(float(signals[:, 0].std(correction=1)))
    assert adapter.deviation[2] == pytest.approx(1e-3)


def test_read_outs_learn_from_what_was_not_mixed():
    model = CrossSubjectModel({"panda": 16}, SMALL).eval()
    batch = next(iter(SubjectLoader(data(16), 20)))
    options = FitOptions(mix_probability=1.0, noise=0.0)
    found = subject_losses(model, "panda", batch, options, 0, generator())
    assert "contrast" in found
    whole = subject_losses(model, "panda", batch, FitOptions(noise=0.0), 49, generator())["readout"]
    model.readouts["tool"].set_statistics(batch.values["tool"])
    told = model.read(batch.signals, "panda", "tool")
    error = ((told - batch.values["tool"]) / batch.values["tool"].std(dim=0)).square().mean()
    again = subject_losses(model, "panda", batch, FitOptions(noise=0.0), 49, generator())["readout"]
    assert float(again) == pytest.approx(float(error.detach()), rel=1e-4)
    assert float(again) != pytest.approx(float(whole))


def test_losses_are_weighted_by_a_softmax_of_normal_numbers():
    losses = {"contrast": torch.tensor(2.0), "prior": torch.tensor(1.0)}
    shares = torch.randn(2, generator=generator(5)).softmax(dim=0)
    assert float(weighted_sum(losses, FitOptions(), generator(5))) == pytest.approx(
        float(2 * shares[0] + 30 * shares[1])
    )
    assert float(weighted_sum(losses, FitOptions(random_weights=False), generator())) == pytest.approx(32)
    groups = grouped(SubjectAdapter(3, 8).parameters(), 0.01)
    assert all(parameter.ndim == 2 for parameter in groups[0]["params"])
    assert groups[1]["weight_decay"] == 0


def test_another_text_is_drawn_in_every_epoch():
    given = data(4, 8, texts=True)
    loader = SubjectLoader(given, 8)
    first, second = (next(iter(loader)) for _ in range(2))
    for batch in (first, second):
        places = [int((given.signals == row).all(dim=1).nonzero()) for row in batch.signals]
        assert all((given.texts[p] == text).all(dim=1).any() for p, text in zip(places, batch.texts, strict=True))
    assert not torch.equal(first.signals, second.signals)
    assert len(SubjectLoader(data(4, 5), 64)) == 1


def test_the_low_level_pipeline_draws_what_the_high_level_tells():
    x = drawn(16, 10)
    latents = torch.einsum("bv,vcxy->bcxy", x, drawn(10, 2, 8, 8, seed=1)) / 10**0.5
    samples = SubjectData(x, drawn(16, 3, 12, seed=2), latents=latents)
    model = LowLevelModel({"a": 10}, 16, (2, 8), 12, first_dropout=0.0, dropout=0.0)
    high = CrossSubjectModel({"a": 10}, SMALL)
    log = fit_low_level(model, {"a": SubjectLoader(samples, 16)}, high, FitOptions(epochs=40, lr=5e-3, warmup_epochs=4))
    assert log[-1]["a/latent"] < 0.9 * log[0]["a/latent"]
    feature = high.features(x, "a")
    with torch.no_grad():
        drawn_latents, vectors = model(x, "a", feature)
        assert drawn_latents.shape == (16, 2, 8, 8)
        assert vectors.shape == (16, 12)
        assert not torch.allclose(model(x, "a")[0], drawn_latents)
        assert torch.equal(model.train()(x, "a", generator=generator())[0], model(x, "a", generator=generator(1))[0])
        hidden, other = (model(x, "a", feature, generator(seed))[0] for seed in (0, 1))
    assert not torch.equal(hidden, other)
    assert LowLevelModel({"a": 4}, 8).to_map.out_features == 16384
    with pytest.raises(ValueError, match="a: expected latents, found none"):
        fit_low_level(model, {"a": SubjectLoader(data(10), 8)})


def test_recordings_are_read_from_npy_files(tmp_path):
    rng = np.random.default_rng(0)
    voxels, tokens, texts = rng.random((6, 3, 10)), rng.random((6, 4, 5)), rng.random((6, 5))
    for name, array in (("voxels", voxels), ("tokens", tokens), ("texts", texts)):
        np.save(tmp_path / f"{name}.npy", array)
    places = [tmp_path / f"{name}.npy" for name in ("voxels", "tokens", "texts")]
    found = read_subject(*places, rows=[4, 1])
    assert np.allclose(found.signals, voxels[[4, 1]].mean(axis=1) / 300, atol=1e-6)
    assert torch.allclose(found.tokens[:, 0].norm(dim=1), torch.ones(2), atol=1e-5)
    assert np.allclose(found.tokens[0, 2], tokens[4, 2] / np.linalg.norm(tokens[4, 0]), atol=1e-5)
    assert found.texts.shape == (2, 1, 5)
    with pytest.raises(FileNotFoundError):
        read_subject(tmp_path / "none.npy", places[1])
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("no")
    for name in ("object", "text"):
        with pytest.raises(ValueError, match=r"expected numbers in the \.npy format"):
            read_subject(tmp_path / f"{name}.npy", places[1])
    with pytest.raises(ValueError, match=r"expected \(n, N, D\)"):
        read_subject(places[0], places[2])


def test_drawn_subjects_share_the_target_of_a_stimulus_and_keep_their_map():
    few, many = (synthetic_subjects({"a": 20, "b": 9}, count, seed=2, noise=0.0) for count in (5, 50))
    assert torch.allclose(many["a"].tokens.norm(dim=2), torch.ones(50, 1), atol=1e-5)
    for name in ("a", "b"):
        assert torch.linalg.matrix_rank(torch.cat([few[name].signals, many[name].signals]), atol=1e-3) == 6


def test_subjects_learn_one_decoder_and_a_new_one_is_read_through_it():
    subjects = synthetic_subjects({"a": 40, "b": 30, "new": 25}, 740, 0, stimulus_dim=3, target_dim=16, noise=0.1)
    config = CrossSubjectConfig(32, 1, 2, 1, 16, 16, 8, 32, first_dropout=0.0, dropout=0.0)
    settings = {"mix_share": 0.5, "mix_temperature": 0.05, "temperatures": (0.05, 0.05), "global_weights": (0.0, 0.0)}
    options, first, test = FitOptions(epochs=10, lr=5e-3, **settings), torch.arange(640), torch.arange(640, 740)
    model = CrossSubjectModel({"a": 40, "b": 30}, config)
    fit_joint(model, {name: SubjectLoader(subjects[name].subset(first), 64) for name in ("a", "b")}, options)
    decoder = state(model.decoder)
    fit_new_subject(model, SubjectLoader(subjects["new"].subset(first), 64), options=options)
    assert same(decoder, model.decoder.state_dict())
    for name, data_of in subjects.items():
        given = data_of.subset(test)
        assert retrieval_top1(model(given.signals, name)[1], given.tokens) > 0.1  # of 100


def test_wrong_input_is_refused():
    model = CrossSubjectModel(DIMS, SMALL)

    def loader_of(n_tokens):
        return SubjectLoader(SubjectData(drawn(4, 16), drawn(4, n_tokens, 12)), 4)

    for message, call in (
        ("subject: expected one of", lambda: model(drawn(2, 16), "ur5e")),
        (r"signal: expected \(B, 16\), found \(2, 15\)", lambda: model(drawn(2, 15), "panda")),
        ("subject: expected a new name without dots, found 'panda'", lambda: model.add_subject("panda", 3)),
        ("subject: expected a new name without dots, found 'a.b'", lambda: model.add_subject("a.b", 3)),
        ("in_dim: expected at least 1", lambda: model.add_subject("c", 0)),
        ("name: expected one of", lambda: model.read(drawn(2, 16), "panda", "place")),
        ("loaders: expected at least one subject", lambda: fit_joint(model, {})),
        ("tokens: expected", lambda: fit_joint(model, {"panda": loader_of(2)})),
        ("tool: expected 3 numbers of a sample, found None", lambda: fit_joint(model, {"panda": loader_of(3)})),
        ("tokens: expected 4 rows of 3 dimensions", lambda: SubjectData(drawn(4, 16), drawn(3, 3, 12))),
        ("signals: expected finite numbers, found 1", lambda: SubjectData(torch.tensor([[math.nan]]), drawn(1, 1, 1))),
        ("batch_size, samples: expected at least 2", lambda: SubjectLoader(data(4), 1)),
        ("epochs, mix_share, lr", lambda: FitOptions(epochs=0)),
        ("width: expected a multiple of 3 heads, found 16", lambda: PriorNetwork(2, 16, PriorConfig(heads=3))),
        ("inner: expected a multiple of 5 heads", lambda: TokenAttention(8, 16, 5)),
        ("latent: expected a side that is a multiple of 4", lambda: LowLevelModel({}, 8, (4, 6))),
        ("predicted: expected", lambda: retrieval_top1(drawn(2, 1, 3), drawn(3, 1, 3))),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            call()
