import json
import math

import numpy as np
import pytest
import torch

from representation.benchmarks import dts as benchmark
from representation.benchmarks.claims import BenchOptions
from representation.data.lerobot_writer import LeRobotWriter
from representation.generative.dts import (
    UNKNOWN,
    DTSConfig,
    DTSModel,
    GroupHeads,
    Information,
    TrainingOptions,
    active_units,
    dts_group_loss,
    dts_individual_loss,
    fit,
    gradient_reversal,
    information,
    kl_decomposition,
    latent_traversal,
    mutual_information_gap,
    reversal_strength,
    sample,
    segments,
    train,
    watch,
)
from representation.generative.dts.objectives import log_normal
from representation.generative.dts.signals import heart_beats, robot_windows
from representation.generative.dts.windows import cut, read_recordings
from representation.registry import load_model

SMALL = DTSConfig(4, {"behaviour": 2, "domain": 2}, hidden=8)


def drawn(count, latent, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mu, logvar = (torch.randn(count, latent, generator=generator, dtype=dtype) for _ in range(2))
    return sample(mu, logvar, generator), mu, logvar


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
@pytest.mark.parametrize("estimator", ["mws", "uniform"])
@pytest.mark.parametrize("count", [1, 2, 17, 128])
def test_the_parts_sum_to_the_divergence(dtype, limit, estimator, count):
    z, mu, logvar = drawn(count, 5, dtype)
    parts = kl_decomposition(z, mu, logvar, 1000, estimator)
    divergence = (log_normal(z, mu, logvar) - log_normal(z, torch.zeros_like(z), torch.zeros_like(z))).sum(dim=1)
    assert float(sum(parts)) == pytest.approx(float(divergence.mean()), abs=limit)


def test_a_batch_that_is_the_whole_dataset_weighs_all_windows_the_same():
    z, mu, logvar = drawn(70, 3)
    found = kl_decomposition(z, mu, logvar, 70)
    for other in (kl_decomposition(z, mu, logvar, 70, "uniform"), information(z, mu, logvar, chunk=32)):
        assert torch.allclose(torch.stack(found), torch.stack(other), atol=1e-12)


def test_two_windows_have_the_information_that_is_computed_by_hand():
    mu, logvar = torch.tensor([[0.0], [2.0]]).double(), torch.zeros(2, 1).double()
    found = kl_decomposition(mu, mu, logvar, 10)
    own, other = (math.exp(-d * d / 2) / math.sqrt(2 * math.pi) for d in (0, 2))
    expected = math.log(own) - math.log(own * 0.1 + other * 0.9)
    assert float(found.mi) == pytest.approx(expected, abs=1e-12)
    assert float(found.tc) == pytest.approx(0, abs=1e-12)


def test_the_total_correlation_of_gaussians_is_the_known_one():
    rng = np.random.default_rng(0)
    mu = torch.from_numpy(rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 2048)).float()
    logvar = torch.full_like(mu, math.log(0.1))
    z = sample(mu, logvar, torch.Generator().manual_seed(0))
    rho = 0.8 / 1.1
    assert abs(float(information(z, mu, logvar).tc) + math.log(1 - rho**2) / 2) <= 0.03


def test_without_alpha_and_with_a_beta_of_1_the_loss_is_the_elbo():
    model = DTSModel(3, SMALL).double()
    x = torch.randn(9, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    output = model(x, torch.Generator().manual_seed(1))
    likelihood = torch.distributions.Normal(output.decoded, output.log_sigma.exp()).log_prob(x).sum(dim=(1, 2))
    posterior = torch.distributions.Normal(output.mu, (output.logvar / 2).exp())
    prior = torch.distributions.Normal(torch.zeros_like(output.mu), 1.0)
    divergence = (posterior.log_prob(output.z) - prior.log_prob(output.z)).sum(dim=1)
    loss = dts_individual_loss(output, x, 100, alpha=0, beta=1)
    assert loss.total.item() == pytest.approx((divergence - likelihood).mean().item(), abs=1e-5)
    whole = torch.distributions.kl_divergence(posterior, prior).sum(dim=1)
    group = dts_group_loss(output, x, 100, group_beta=0)
    assert group.total.item() == pytest.approx((whole - likelihood).mean().item(), abs=1e-5)
    rewarded = dts_group_loss(output, x, 100, group_beta=0.5)
    aggregate = group.parts["tc"] + group.parts["dwkl"]
    assert (group.total - rewarded.total).item() == pytest.approx(0.5 * aggregate.item(), abs=1e-9)


def test_an_alpha_of_beta_leaves_the_information_alone(monkeypatch):
    parts = torch.tensor([3.0, 1.0, 2.0], requires_grad=True)
    monkeypatch.setattr(
        "representation.generative.dts.objectives.kl_decomposition",
        lambda *_: Information(*parts),
    )
    model, x = DTSModel(1, SMALL), torch.zeros(4, 5, 1)
    output = model(x, torch.Generator().manual_seed(0))
    for alpha, expected in ((4.0, [0.0, 4.0, 4.0]), (4.5, [-0.5, 4.0, 4.0]), (0.0, [4.0, 4.0, 4.0])):
        (gradient,) = torch.autograd.grad(dts_individual_loss(output, x, 10, alpha, 4.0).total, parts)
        assert gradient.tolist() == expected


def test_reversal_changes_gradients_alone():
    x = torch.randn(3, 4, requires_grad=True, generator=torch.Generator().manual_seed(0))
    gradient = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    found = gradient_reversal(x, 0.3)
    assert torch.equal(found, x)
    found.backward(gradient)
    assert torch.equal(x.grad, -0.3 * gradient)
    assert reversal_strength(0) == 0
    assert reversal_strength(1) == pytest.approx(2 / (1 + math.exp(-10)) - 1)


@pytest.mark.parametrize("fed", [True, False])
def test_the_decoder_does_not_see_what_is_to_come(fed):
    model = DTSModel(2, DTSConfig(4, {"all": 4}, hidden=8, fed=fed))
    generator = torch.Generator().manual_seed(0)
    x, z = torch.randn(3, 9, 2, generator=generator), torch.randn(3, 4, generator=generator)
    changed = x.clone()
    changed[:, 5:] += 1
    before, after = (model.decode_known(z, values) for values in (x, changed))
    assert torch.equal(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])
    hidden = [model.decode_known(z, values, torch.zeros(3, 9)) for values in (x, changed)]
    assert torch.equal(*hidden)
    free = model.decode(z, 9)
    assert torch.allclose(free, model.decode_known(z, free), atol=1e-5)


def test_each_group_is_pulled_to_its_target_and_pushed_from_the_others():
    heads = GroupHeads(SMALL, {"behaviour": 3, "domain": 2})
    vectors = torch.randn(16, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    none = torch.full((16,), UNKNOWN)
    targets = {"behaviour": none, "domain": torch.arange(16) % 2}

    def gradient(lam):
        return torch.autograd.grad(heads(vectors, targets, lam).total, vectors)[0]

    pushed = gradient(1.0)
    assert torch.allclose(pushed[:, :2], -gradient(-1.0)[:, :2], atol=1e-7)
    assert (gradient(0.0)[:, :2] == 0).all()
    assert torch.allclose(pushed[:, 2:], gradient(0.0)[:, 2:], atol=1e-7)
    assert heads(vectors, targets, 1.0).parts["behaviour"].item() == 0
    with pytest.raises(ValueError, match="expected classes from 0 to 1"):
        heads(vectors, targets | {"domain": none - 1}, 1.0)
    with pytest.raises(ValueError, match="expected at least 2 for some"):
        GroupHeads(SMALL, {"domain": 1})


def test_the_gap_is_that_of_the_two_numbers_that_tell_most():
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 2, (4000, 2))
    mu = np.stack([factors[:, 0], factors[:, 1], rng.uniform(size=4000)], axis=1)
    assert mutual_information_gap(mu, factors) == pytest.approx(1, abs=0.02)
    assert mutual_information_gap(mu[:, [0, 0, 1, 1]], factors) == pytest.approx(0)
    assert active_units(mu * [1, 0.1, 1]) == 2
    with pytest.raises(ValueError, match="found one of factor 1"):
        mutual_information_gap(mu, factors * [1, 0])


def test_a_short_training_puts_into_vectors_what_windows_are_decoded_from():
    x = torch.from_numpy(robot_windows(256, 12, benchmark.ROBOTS[0], 0)[0])
    model = DTSModel(3, DTSConfig(4, {"all": 4}, hidden=16, alpha=1, beta=1, masked=0.5)).eval()
    with torch.no_grad():
        before = (model(x).decoded - x).square().mean()
    parts = fit(model, x, TrainingOptions(steps=60, batch=64, lr=1e-2, warmup=0.5))
    with torch.no_grad():
        after = (model(x).decoded - x).square().mean()
    assert after < 0.6 * before
    assert parts["mi"] > 1
    shown = latent_traversal(model, x[0], 1, (-1.0, model.encode(x[:1])[0][0, 1].item()))
    assert torch.allclose(shown[1], model(x[:1]).decoded[0], atol=1e-5)
    assert not torch.allclose(shown[0], shown[1], atol=1e-2)


def test_drawn_signals_repeat_and_beats_have_the_heights_that_are_told():
    x, factors = heart_beats(200, 80, 3)
    assert np.array_equal(x, heart_beats(200, 80, 3)[0])
    assert np.corrcoef(x.max(axis=(1, 2)), factors[:, 1])[0, 1] > 0.95
    windows, skills = robot_windows(50, 30, benchmark.ROBOTS[0], 0)
    assert windows.shape == (50, 30, 3)
    force = windows[:, -3:, 2].mean(axis=1)
    assert force[skills >= 2].min() > force[skills < 2].max()


def test_wrong_inputs_are_refused():
    model, z = DTSModel(2, SMALL), torch.zeros(4, 3)
    for wrong, message in (
        (torch.zeros(4, 5, 3), r"expected windows \(B, T, 2\), found \(4, 5, 3\)"),
        (torch.full((4, 5, 2), torch.nan), "expected finite numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            model.encode(wrong)
    with pytest.raises(ValueError, match="generator: expected"):
        model(torch.zeros(4, 5, 2))
    with pytest.raises(ValueError, match="expected at least the batch's 4 windows, found 3"):
        kl_decomposition(z, z, z, 3)
    with pytest.raises(ValueError, match="estimator: expected mws or uniform"):
        kl_decomposition(z, z, z, 9, "mss")
    for options, message in (
        ({"groups": {"one": 3}}, "sizes from 1 that sum to 8"),
        ({"alpha": 4.6}, "alpha from 0 to beta"),
        ({"group_beta": 1.1}, "group_beta, targets, adversary"),
    ):
        with pytest.raises(ValueError, match=message):
            DTSConfig(**options)
    with pytest.raises(ValueError, match=r"group_beta: expected in \[0, 1\]"):
        dts_group_loss(model(torch.zeros(4, 5, 2), torch.Generator()), torch.zeros(4, 5, 2), 9, 1.5)
    with pytest.raises(ValueError, match="heads, targets: expected both or none"):
        fit(model, torch.zeros(4, 5, 2), TrainingOptions("group"), targets={"domain": torch.zeros(4)})


def write_episodes(root, gain, offset, fps):
    """Eight episodes of a joint that rests, then goes to and fro; `skill` tells which."""
    features = {"observation.state": {"dtype": "float32", "shape": (2,)}, "skill": {"dtype": "int64", "shape": (1,)}}
    writer, rng = LeRobotWriter(root, fps, features, "arm"), np.random.default_rng(0)
    for _ in range(8):
        start = rng.uniform(1.5, 2.5)
        for step in range(4 * fps):
            time = step / fps
            moves = time >= start
            angle = np.sin(6 * (time - start)) if moves else 0.0
            state = gain * np.array([angle, 0.5 * angle]) + offset + 0.02 * rng.normal(size=2)
            writer.add_frame(
                {"observation.state": state.astype(np.float32), "skill": np.array([int(moves)])}, task="go"
            )
        writer.save_episode()
    writer.finalize()


def test_a_monitor_follows_a_second_arm_whose_skills_nobody_told_it(tmp_path, capsys):
    write_episodes(tmp_path / "one", 1.0, 0.0, 10)
    write_episodes(tmp_path / "two", 0.4, 2.0, 20)
    words = ["--data", str(tmp_path / "one"), "--target", str(tmp_path / "two"), "--channels", "observation.state:0-1"]
    words += ["--labels", "skill", "--check", "--output", str(tmp_path / "run"), "--length", "8", "--steps", "60"]
    words += ["--lr", "0.01", "--batch", "64", "--threads", "1", "--set.hidden", "12", "--set.masked", "0.5"]
    assert train.main(words) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["probes"]["skill of two by behaviour"]["score"] > 0.8
    parts = report["information"]
    assert parts["kl"] == pytest.approx(parts["mi"] + parts["tc"] + parts["dwkl"])
    assert "of 8 units active" in capsys.readouterr().out
    monitor = load_model(tmp_path / "run")
    words = ["--model", str(tmp_path / "run"), "--data", str(tmp_path / "two"), "--robot", "two", "--threads", "1"]
    assert watch.main([*words, "--output", str(tmp_path / "seen"), "--truth", "skill"]) == 0
    seen = json.loads((tmp_path / "seen" / "episodes.json").read_text())
    assert len(seen["episodes"]) == 8
    told = seen["episodes"][0]["segments"]
    assert [part["skill"] for part in told][:1] == ["skill=0"]
    assert told[-1]["skill"] == "skill=1"
    (recording, *_) = read_recordings(tmp_path / "two", ("observation.state",), (), 10.0)
    assert len(recording.values) == 40
    spoiled = recording.values.copy()
    spoiled[8:12] += 0.8
    calm, wild = (
        monitor.follow(recording.__class__(values, recording.labels, recording.factors), "two")[1]
        for values in (recording.values, spoiled)
    )
    assert wild[8:12].min() > 3 * calm.max()
    with pytest.raises(ValueError, match="robot: expected one of one, two, found 'three'"):
        monitor.robot("three")
    assert watch.main([*words, "--output", str(tmp_path / "no"), "--channels", "observation.state:0-2"]) == 1
    assert "expected entries below 2" in capsys.readouterr().err


def test_series_of_a_file_are_clustered_where_nothing_is_known(tmp_path, capsys):
    windows, skills = robot_windows(40, 12, benchmark.ROBOTS[0], 0)
    np.savez(tmp_path / "series.npz", windows=windows, skill=skills)
    words = ["--data", str(tmp_path / "series.npz"), "--output", str(tmp_path / "run"), "--length", "12"]
    words += ["--steps", "10", "--skills", "3", "--factors", "skill", "--set.hidden", "8", "--threads", "1"]
    assert train.main(words) == 0
    monitor = load_model(tmp_path / "run")
    assert monitor.config.skills == ("cluster 0", "cluster 1", "cluster 2")
    words += ["--objective", "individual", "--labels", "skill"]
    assert train.main([*words[:3], str(tmp_path / "labelled"), *words[4:]]) == 0
    labelled = load_model(tmp_path / "labelled")
    assert labelled.config.skills == ("skill=0", "skill=1", "skill=2", "skill=3")
    report = json.loads((tmp_path / "labelled" / "report.json").read_text())
    assert report["probes"]["skill of series by the monitor"]["score"] > 0
    one = read_recordings(tmp_path / "series.npz")[0]
    assert monitor.follow(one, "series")[0].sum(axis=1) == pytest.approx(np.ones(12))
    assert "skill by ridge regression" in capsys.readouterr().out
    with pytest.raises(ValueError, match="at most the 12 steps of the longest recording, found 13"):
        cut([one], 13, 1)
    with pytest.raises(ValueError, match=r"series.npz: speed: expected one of \['windows', 'skill'\]"):
        read_recordings(tmp_path / "series.npz", labels=("speed",))


def test_short_stretches_go_to_the_segment_before_them():
    told = np.array([0, 0, 0, 1, 0, 0, 2, 2, 2, 2])
    found = segments(np.eye(3)[told], ("rest", "reach", "press"), shortest=2)
    assert [(part.first, part.last, part.skill) for part in found] == [(0, 6, "rest"), (6, 10, "press")]
    assert found[0].confidence == pytest.approx(5 / 6)


def test_the_benchmark_runs_at_a_small_scale(monkeypatch):
    monkeypatch.setattr(benchmark, "SERIES", 64)
    monkeypatch.setattr(benchmark, "WINDOWS", 40)
    monkeypatch.setattr(benchmark, "HELD_OUT", 40)
    claims = benchmark.run(BenchOptions(seeds=2, scale=0.002))
    assert all(np.isfinite([*claim.ours, *claim.baseline]).all() for claim in claims)
