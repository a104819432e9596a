import json
from itertools import pairwise

import numpy as np
import pytest
import torch

from representation.analysis.deep_kernel_machines import (
    ArccosKernel,
    DeepKernelMachine,
    GramTriple,
    SparseDKM,
    SqExpKernel,
    deep_linear_solution,
    gaussian_kl,
    kernel_alignment,
    nngp,
    taylor_divergence,
)
from representation.analysis.deep_kernel_machines.fit import main
from representation.analysis.deep_kernel_machines.gaussians import factor_of
from representation.analysis.deep_kernel_machines.kernels import input_triple
from representation.analysis.deep_kernel_machines.sparse import GramBatchNorm
from representation.analysis.deep_kernel_machines.tables import read_table
from representation.benchmarks import deep_kernel_machines as benchmark
from representation.data.frames import Frames, write_frames
from representation.registry import load_model


def drawn(n, d=5, seed=0):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x, torch.stack([(2 * x[:, 0]).sin() * x[:, 1], x[:, 2]], dim=1)


def covariance(n, seed):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(n, n, generator=generator, dtype=torch.float64)
    return root @ root.T / n + torch.eye(n, dtype=torch.float64)


def test_the_divergence_is_that_of_gaussians():
    a, b = covariance(6, 0), covariance(6, 1)
    zero = torch.zeros(6, dtype=torch.float64)
    one, other = (torch.distributions.MultivariateNormal(zero, k) for k in (a, b))
    assert float(gaussian_kl(a, b)) == pytest.approx(float(torch.distributions.kl_divergence(one, other)), abs=1e-10)
    assert float(gaussian_kl(a, a)) == pytest.approx(0.0, abs=1e-12)

    def of_roots(p, q):
        return gaussian_kl(p @ p.mT + torch.eye(3).double(), q @ q.mT + torch.eye(3).double())

    roots = [torch.randn(3, 3, dtype=torch.float64).requires_grad_() for _ in range(2)]
    assert torch.autograd.gradcheck(of_roots, roots)
    near = b + 1e-3 * covariance(6, 2)
    assert float(taylor_divergence(near, b)) == pytest.approx(float(gaussian_kl(near, b)), rel=0.01)
    with pytest.raises(ValueError, match="b: expected a positive definite matrix"):
        gaussian_kl(a, -b)
    with pytest.raises(ValueError, match="a: expected a symmetric matrix"):
        gaussian_kl(a.triu(), b)
    with pytest.raises(ValueError, match="of one shape, found"):
        gaussian_kl(a, b[:3, :3])


def test_linear_layers_between_known_ends_are_powers():
    first, last, layers = covariance(6, 0), covariance(6, 1), 3
    wanted = deep_linear_solution(first, last, layers)
    parameters = [torch.zeros(6, 6, dtype=torch.float64).requires_grad_() for _ in range(layers)]
    optimizer = torch.optim.LBFGS(parameters, max_iter=500, tolerance_change=0, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        grams = [first, *(factor_of(p) @ factor_of(p).mT for p in parameters), last]
        loss = sum(gaussian_kl(above, below) for below, above in pairwise(grams))
        loss.backward()
        return loss

    optimizer.step(closure)
    for parameter, gram in zip(parameters, wanted, strict=True):
        found = (factor_of(parameter) @ factor_of(parameter).mT).detach()
        assert float((found - gram).norm() / gram.norm()) < 1e-5


def test_the_arccos_kernel_is_the_mean_of_products_behind_relu():
    generator = torch.Generator().manual_seed(0)
    gram = torch.tensor([[1.0, 0.3], [0.3, 0.7]], dtype=torch.float64)
    kernel = ArccosKernel(bias_var=0.0, jitter=0.0)
    drawn_points = torch.randn(1_000_000, 2, generator=generator, dtype=torch.float64)
    activities = (drawn_points @ torch.linalg.cholesky(gram).mT).relu()
    assert torch.allclose(kernel(gram), 2 * activities.mT @ activities / len(activities), atol=5e-3)
    x, _ = drawn(30)
    gram = x @ x.T / 5
    found = kernel(gram).detach()
    assert torch.allclose(found.diagonal(), gram.diagonal())
    assert torch.linalg.eigvalsh(found).min() > -1e-9
    biased = ArccosKernel(2.0, 0.5, 0.0)(gram).detach()
    assert torch.allclose(biased, kernel(2 * gram + 0.5), atol=1e-9)
    gram = torch.ones(2, 2, dtype=torch.float64).requires_grad_()
    kernel(gram).sum().backward()
    assert torch.isfinite(gram.grad).all()


@pytest.mark.parametrize("kernel", [SqExpKernel(2.0, 1.5, jitter=0.0), ArccosKernel(jitter=0.0)])
def test_kernels_know_points_by_their_products(kernel):
    x, _ = drawn(7)
    whole = kernel(x @ x.T / 5)
    parts = kernel(input_triple(x[:4], x[4:]))
    assert torch.allclose(parts.ii, whole[:4, :4])
    assert torch.allclose(parts.ti, whole[4:, :4])
    assert torch.allclose(parts.t, whole.diagonal()[4:])
    if isinstance(kernel, SqExpKernel):
        squares = (x[:, None] - x[None]).square().sum(dim=-1) / 5
        assert torch.allclose(whole, 1.5 * (-squares / 8).exp())


def test_fixed_kernels_are_where_a_machine_starts_and_where_large_nu_leaves_it():
    x, y = drawn(20)
    kernels = nngp(x, SqExpKernel(), 2)
    start = DeepKernelMachine([SqExpKernel() for _ in range(3)], 5.0).fit(x, y, steps=0)
    noise = 0.1 * torch.eye(20, dtype=torch.float64)
    marginal = torch.distributions.MultivariateNormal(torch.zeros(20, dtype=torch.float64), kernels[-1] + noise)
    assert start.objective().item() == pytest.approx(float(marginal.log_prob(y.T).sum()), rel=1e-8)
    held = DeepKernelMachine([SqExpKernel() for _ in range(3)], 1e6).fit(x, y, 50, method="lbfgs")
    for layer in (1, 2):
        prior = SqExpKernel()(held.gram(layer - 1)).detach()
        assert float((held.gram(layer) - prior).norm() / prior.norm()) < 1e-3
    fixed = DeepKernelMachine([SqExpKernel() for _ in range(3)], float("inf")).fit(x, y)
    assert torch.allclose(fixed.top_kernel(), kernels[-1])
    assert torch.allclose(start.predict(x)[0], fixed.predict(x)[0])


def test_points_of_the_inducing_ones_are_told_as_these():
    x, y = drawn(12)
    model = SparseDKM(x, 2, SqExpKernel(jitter=0.0), 1.0, 2).fit(x, y, steps=5)
    prior = model.kernels[0](input_triple(model.inducing, model.inducing))
    gram, _ = model.layers[0](prior)
    assert torch.allclose(gram.ti, gram.ii, atol=1e-6)
    assert torch.allclose(gram.t, gram.ii.diagonal(), atol=1e-6)
    assert float(model.divergences()[0]) > 0.001
    halves = [GramTriple(gram.ii, gram.ti[rows], gram.t[rows]) for rows in (slice(0, 6), slice(6, 12))]
    scaled = GramBatchNorm()(gram)
    assert scaled.ii.diagonal().mean().item() == pytest.approx(1.0)
    assert not torch.allclose(scaled.ti[:6], GramBatchNorm()(halves[0]).ti)


def test_a_sparse_machine_of_all_points_is_the_full_one():
    x, y = drawn(15)
    full = DeepKernelMachine([SqExpKernel(jitter=1e-9) for _ in range(3)], 2.0).fit(x, y, 30)
    sparse = SparseDKM(x, 2, SqExpKernel(jitter=1e-9), 2.0, 2)
    for layer, one in enumerate(sparse.layers):
        one.start(factor_of(full.factors[layer].detach()))
    sparse.solve_output(x, y)
    assert sparse.elbo(x, y, 15).item() * 15 == pytest.approx(full.objective().item(), abs=1e-3)
    others, _ = drawn(6, seed=1)
    for ours, theirs in zip(sparse.predict(others), full.predict(others), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)
    assert torch.allclose(sparse.divergences(), full.divergences(), atol=1e-4)


def test_the_smaller_nu_the_more_kernels_learn():
    x, y = drawn(25)
    y = y[:, :1]
    wanted, aligned, likelihoods, divergences = y @ y.T, [], [], []
    for nu in (0.1, 1.0, 10.0):
        model = DeepKernelMachine([SqExpKernel() for _ in range(3)], nu).fit(x, y, 60)
        aligned.append(kernel_alignment(model.top_kernel(), wanted))
        likelihoods.append(float(model.log_likelihood()))
        divergences.append(float(model.divergences().sum()))
    assert aligned == sorted(aligned, reverse=True)
    assert aligned[0] > kernel_alignment(nngp(x, SqExpKernel(), 2)[-1], wanted) + 0.3
    assert likelihoods == sorted(likelihoods, reverse=True)
    assert divergences == sorted(divergences, reverse=True)
    tempted = DeepKernelMachine([SqExpKernel() for _ in range(3)], 1e4).fit(x, y, 20)
    start = DeepKernelMachine([SqExpKernel() for _ in range(3)], 1e4).fit(x, y, 0)
    assert tempted.objective().item() >= start.objective().item()


@pytest.mark.parametrize("objective", ["kl", "taylor"])
def test_classes_that_no_line_parts_are_told(objective):
    x = drawn(120)[0][:, :2]
    y = (x[:, 0] * x[:, 1] > 0).long()
    model = SparseDKM(x[:16], 1, ArccosKernel(), 10.0, 2, "categorical", objective, norm=objective == "taylor")
    model.fit(x, y, 60, 0.03)
    probabilities, variance = model.predict(x)
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(120).double())
    assert torch.allclose(variance, probabilities * (1 - probabilities))
    assert float((probabilities.argmax(dim=1) == y).double().mean()) > 0.75
    with pytest.raises(ValueError, match="expected classes"):
        model.elbo(x, y + 1, 120)
    with pytest.raises(ValueError, match="expected gaussian, found categorical"):
        model.solve_output(x, y)


@pytest.mark.parametrize("machine", ["sparse", "full"])
def test_the_command_chooses_nu_and_what_it_leaves_predicts_again(tmp_path, capsys, machine):
    rng = np.random.default_rng(0)
    state, episode = rng.standard_normal((60, 3)), np.repeat(np.arange(10), 6)
    force = np.sin(2 * state[:, 0]) + 5
    np.savez(tmp_path / "logged.npz", state=state, force=force, episode=episode)
    words = ["--data", str(tmp_path / "logged.npz"), "--inputs", "state", "--target", "force", "--steps", "20"]
    words += ["--output", str(tmp_path / "run"), "--nus", "10", "100", "--inducing", "10", "--machine", machine]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "36 rows learned from, 12 chosen by, 12 tested; 3 inputs" in printed
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert [name.split(",")[0] for name in report["test"]] == [
        "deep kernel machine",
        "fixed kernels (NNGP)",
        "plain Gaussian process",
        "ridge regression",
    ]
    assert len(report["divergences"]) == 2
    assert len(report["alignments"]) == 3
    model = load_model(tmp_path / "run")
    mean, variance = model.predict(state)
    assert mean.shape == variance.shape == (60, 1)
    assert np.sqrt(((mean[:, 0] - force) ** 2).mean()) < force.std()
    assert (variance > 0).all()
    with pytest.raises(ValueError, match="expected \\(B, 3\\), found \\(60, 2\\)"):
        model.predict(state[:, :2])


def test_the_command_tells_classes(tmp_path, capsys):
    rng = np.random.default_rng(0)
    state = rng.standard_normal((60, 2))
    np.savez(tmp_path / "logged.npz", state=state, held=state[:, 0] > 0)
    words = ["--data", str(tmp_path / "logged.npz"), "--inputs", "state", "--target", "held", "--classify"]
    words += ["--output", str(tmp_path / "run"), "--nus", "10", "--inducing", "8", "--steps", "10"]
    assert main(words) == 0
    assert "logistic regression: share wrong" in capsys.readouterr().out
    np.savez(tmp_path / "logged.npz", state=state, held=np.ones(60))
    words[words.index(str(tmp_path / "run"))] = str(tmp_path / "other")
    assert main(words) == 1
    assert "expected at least two classes, found [1.]" in capsys.readouterr().err


def test_tables_are_read_of_frames_with_vectors_and_changes_stay_within_episodes(tmp_path):
    episode, state = np.repeat([0, 1], 3), np.arange(12.0).reshape(6, 2) ** 2
    write_frames(Frames(np.zeros((6, 4, 4, 3), np.uint8), episode, {"state": state}), tmp_path / "frames")
    vectors = np.arange(6, dtype=np.float32)[:, None]
    np.savez(tmp_path / "vectors.npz", vectors=vectors, episode=episode)
    table = read_table(tmp_path / "frames", ["state"], "state", tmp_path / "vectors.npz", ahead=1)
    rows = [0, 1, 3, 4]
    assert np.array_equal(table.x, np.concatenate([state, vectors], axis=1)[rows])
    assert np.array_equal(table.y, np.diff(state, axis=0)[rows])
    assert table.episode.tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match=r"expected \['speed'\], found \['state'\]"):
        read_table(tmp_path / "frames", ["speed"], "state")
    with pytest.raises(ValueError, match="expected at least 5, found 2"):
        table.split(np.random.default_rng(0), 10)
    np.savez(tmp_path / "short.npz", vectors=vectors[:5], episode=episode[:5])
    with pytest.raises(ValueError, match="expected the 6 rows of"):
        read_table(tmp_path / "frames", [], "state", tmp_path / "short.npz")
    with pytest.raises(ValueError, match="expected at least one name"):
        read_table(tmp_path / "frames", [], "state")
    state[0, 0] = np.nan
    np.savez(tmp_path / "nan.npz", state=state, y=state[:, 1])
    with pytest.raises(ValueError, match="inputs: expected finite numbers, found 1 others"):
        read_table(tmp_path / "nan.npz", ["state"], "y")


def test_wrong_settings_are_refused():
    x, y = drawn(5)
    with pytest.raises(ValueError, match="nu: expected 2 numbers above 0"):
        DeepKernelMachine([SqExpKernel() for _ in range(3)], [1.0])
    with pytest.raises(ValueError, match="nu: expected 1 numbers above 0"):
        SparseDKM(x, 1, SqExpKernel(), -1.0, 2)
    with pytest.raises(ValueError, match="x: expected finite numbers, found 1"):
        DeepKernelMachine([SqExpKernel()], 1.0).fit(torch.where(x == x[0, 0], torch.nan, x), y)
    with pytest.raises(ValueError, match="y: expected 5 rows, found 4"):
        DeepKernelMachine([SqExpKernel()], 1.0).fit(x, y[:4])
    with pytest.raises(ValueError, match="expected a machine that was fitted"):
        DeepKernelMachine([SqExpKernel()], 1.0).predict(x)
    with pytest.raises(ValueError, match="expected gaussian or categorical"):
        SparseDKM(x, 1, SqExpKernel(), 1.0, 2, "poisson")
    with pytest.raises(ValueError, match="kernels: expected two"):
        kernel_alignment(x, x[:3])


def test_the_benchmark_asks_what_it_says(monkeypatch):
    for name, value in {"POINTS": 12, "FEW": 8, "SINES": 40, "INDUCING": 6, "BATCH": 20}.items():
        monkeypatch.setattr(benchmark, name, value)
    aligned = benchmark.alignments(0, 3)
    assert set(aligned) == {1.0, 10.0, 100.0, float("inf")}
    likelihoods, divergences = benchmark.trade(0, 5)
    assert likelihoods[0] > likelihoods[2]
    assert divergences[0] > divergences[2]
    assert 0.3 < benchmark.told(0, 1.0, 1) <= 1
    assert benchmark.linear(0) < 0.95
