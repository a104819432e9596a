import numpy as np
import pytest
import scipy.io
import torch
from sklearn.base import clone

from representation.benchmarks.digit_encoders import all_digits
from representation.compatibility.stored_vectors import VectorFile, read_vectors
from representation.registry import load_model
from representation.transfer import label_few
from representation.transfer.shda_ktf import (
    KTF,
    KTFClassifier,
    fit_ktf,
    fit_stn,
    load_shda_mat,
    noise_source,
    soft_mmd,
    target_only,
    transfer_diagnostics,
)
from representation.transfer.shda_ktf import sources as ktf_sources
from representation.transfer.shda_ktf.fitting import ktf_loss

C, D = 3, 5


def drawn(count, width=D, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equal_features_of_each_class_have_no_distance_and_a_shift_adds_its_square():
    ps, ys = drawn(12), torch.arange(12) % C
    labelled, rest = torch.arange(3), torch.arange(3, 12)
    likely = torch.nn.functional.one_hot(ys[rest], C).double()
    target = ps[labelled], ys[labelled], ps[rest], likely
    assert float(soft_mmd(ps, ys, *target, C).total) == pytest.approx(0, abs=1e-10)
    shift = drawn(1, seed=1)
    parts = soft_mmd(ps + shift, ys, *target, C)
    square = float(shift.square().sum())
    assert float(parts.total) == pytest.approx(square, rel=1e-9)
    assert float(parts.marginal) == pytest.approx(square, rel=1e-9)
    assert float(parts.conditional) == pytest.approx(C * square, rel=1e-9)


def test_the_distance_does_not_see_a_rotation_of_both():
    ps, ys, pl, pu = drawn(9), torch.arange(9) % C, drawn(3, seed=1), drawn(7, seed=2)
    likely, turn = drawn(7, C, seed=3).softmax(dim=1), torch.linalg.qr(drawn(D, seed=4)).Q
    before = soft_mmd(ps, ys, pl, torch.arange(3), pu, likely, C).total
    after = soft_mmd(ps @ turn, ys, pl @ turn, torch.arange(3), pu @ turn, likely, C).total
    assert float(after) == pytest.approx(float(before), abs=1e-8)


def test_certain_labels_give_the_plain_means_of_classes():
    ps, ys, pl, pu = drawn(6), torch.arange(6) % C, drawn(3, seed=1), drawn(8, seed=2)
    yu = torch.tensor([0, 0, 1, 2, 2, 1, 1, 0])
    found = soft_mmd(ps, ys, pl, torch.arange(3), pu, torch.nn.functional.one_hot(yu, C).double(), C)
    both, classes = torch.cat([pl, pu]), torch.cat([torch.arange(3), yu])
    by_hand = sum((ps[ys == k].mean(dim=0) - both[classes == k].mean(dim=0)).square().sum() for k in range(C))
    assert float(found.conditional) == pytest.approx(float(by_hand), abs=1e-7)
    unseen = soft_mmd(ps, ys, pl, torch.arange(3), pu, drawn(8, C).softmax(dim=1), C, soft_weight=0.0)
    alone = sum((ps[ys == k].mean(dim=0) - pl[k]).square().sum() for k in range(C))
    assert float(unseen.conditional) == pytest.approx(float(alone), abs=1e-7)


def test_priors_weight_the_mean_of_the_source_and_the_soft_labels():
    ps, ys, x = drawn(6), torch.arange(6) % C, drawn(4, seed=1)
    priors = torch.tensor([0.8, 0.1, 0.1], dtype=torch.float64)
    found = soft_mmd(ps, ys, x, torch.tensor([0, 1, 2, 0]), x, torch.full((4, C), 1 / C).double(), C, priors)
    mean = sum(priors[k] * ps[ys == k].mean(dim=0) for k in range(C))
    assert float(found.marginal) == pytest.approx(float((mean - x.mean(dim=0)).square().sum()), abs=1e-9)
    result = fit_ktf(x.float(), torch.tensor([0, 1, 2, 0]), x.float(), priors=priors.float(), steps=1)
    assert torch.allclose(result.probabilities(x.float()).mean(dim=0), priors.float(), atol=0.02)  # weights are small


def test_gradients_of_the_loss_flow_through_the_soft_labels(monkeypatch):
    model = KTF(D, C, common_dim=4).double()
    for parameter in model.parameters():
        parameter.data.mul_(40)
    source = drawn(9, 4, seed=5), torch.arange(9) % C
    target = drawn(6), torch.arange(6) % C, drawn(8, seed=1)
    names, values = zip(*model.named_parameters(), strict=True)

    def loss(*given):
        with torch.nn.utils.stateless._reparametrize_module(model, dict(zip(names, given, strict=True))):
            return ktf_loss(model, target, source, 0.1, 1.0, 0.05)["loss"]

    assert torch.autograd.gradcheck(loss, values)
    through = torch.autograd.grad(loss(*values), values)
    monkeypatch.setattr(
        "representation.transfer.shda_ktf.fitting._probabilities", lambda logits, priors: logits.softmax(dim=1).detach()
    )
    stopped = torch.autograd.grad(loss(*values), values)
    assert max(float((a - b).abs().max()) for a, b in zip(through, stopped, strict=True)) > 1e-4


def test_the_loss_is_what_is_written():
    model = KTF(D, C, common_dim=4).double()
    source = drawn(9, 4, seed=5), torch.arange(9) % C
    found = ktf_loss(model, (drawn(6), torch.arange(6) % C, drawn(8)), source, 0.3, 0.7, 0.2)
    squares = sum(float(layer.weight.detach().square().sum()) for layer in (model.projector, model.classifier))
    parts = [found[name].item() for name in ("target_ce", "source_ce", "mmd")]
    assert found["loss"].item() == pytest.approx(parts[0] + 0.3 * parts[1] + 0.7 * parts[2] + 0.1 * squares)


def test_weights_are_drawn_small_and_projections_have_length_one():
    model = KTF(50, 4, seed=3)
    weight = model.projector.weight
    assert float(weight.detach().abs().max()) <= 0.02
    assert float(weight.detach().std()) == pytest.approx(0.0088, abs=3e-4)  # of a normal cut at two deviations
    assert model.projector.bias.abs().max() > 0
    x = torch.rand(6, 50)
    assert torch.allclose(model.project(x).norm(dim=1), torch.ones(6), atol=1e-5)
    assert torch.allclose(model(3 * x), model(x), atol=1e-6)
    assert torch.equal(KTF(50, 4, seed=3).projector.weight, weight)
    assert not torch.equal(KTF(50, 4, seed=4).projector.weight, weight)


@pytest.mark.parametrize("settings", [{}, {"kind": "laplace"}, {"kind": "uniform"}, {"covariance": "psd"}])
def test_noise_has_classes_where_they_are_separated_and_none_where_not(settings):
    def spread(separation):
        x, y = noise_source(4, 32, 50, separation=separation, seed=1, **settings)
        assert torch.allclose(x.norm(dim=1), torch.ones(200), atol=1e-5)
        assert torch.bincount(y).tolist() == [50] * 4
        means = torch.stack([x[y == k].mean(dim=0) for k in range(4)])
        return float(means.var(dim=0).sum())

    assert spread(2.0) > 5 * spread(0.0)


def test_noise_of_drawn_sizes_and_graded_classes():
    _, y = noise_source(5, 16, (3, 9), graded=True, covariance="psd")
    assert all(3 <= count <= 9 for count in torch.bincount(y).tolist())
    with pytest.raises(ValueError, match="expected identity for laplace noise"):
        noise_source(3, kind="laplace", covariance="psd")
    with pytest.raises(ValueError, match="num_classes, dim, per_class, separation"):
        noise_source(1)


def digits(seed, unlabelled=400):
    x, y = all_digits()
    rng = np.random.default_rng(seed)
    labelled = label_few.drawn_labels(y.numpy(), 3, rng)
    rest = rng.permutation(np.setdiff1d(np.arange(len(y)), labelled))
    return x, y, labelled, rest[:unlabelled], rest[unlabelled:]


def test_three_labels_of_a_class_are_enough_to_begin_with_and_what_was_not_trained_with_is_told_as_well():
    x, y, labelled, rest, apart = digits(0, 250)
    given = x[labelled].numpy(), y[labelled].numpy(), x[rest].numpy()
    source = noise_source(10, 64, 20)
    model = KTFClassifier(source, lr=1e-2, steps=80).fit(*given)
    right = float((model.predict(x[rest]) == y[rest].numpy()).mean())
    assert right > 0.6
    assert float((model.predict(x[apart]) == y[apart].numpy()).mean()) > right - 0.05
    told = transfer_diagnostics(model.result_)
    assert told["source_accuracy"] > 0.9
    assert told["transferability"] == -model.result_.log["mmd"][-1]
    assert len(model.result_.log["loss"]) == 81


def test_the_classifier_keeps_the_names_of_classes_and_can_be_cloned():
    x = drawn(40).float()
    names = np.array(["slip", "hold"])[(x[:, 0] > 0).long()]
    model = clone(KTFClassifier(lr=0.01, steps=80, tau=0.0)).fit(x[:10], names[:10], x[10:])
    assert set(model.predict(x)) <= {"slip", "hold"}
    assert model.predict_proba(x).shape == (40, 2)
    assert float((model.predict(x[:10]) == names[:10]).mean()) == 1.0


def test_the_baselines_fit_their_labels():
    x, y, labelled, rest, _ = digits(1, 100)
    for result in (
        target_only(x[labelled], y[labelled], hidden=64, steps=60),
        fit_stn(x[rest], y[rest], x[labelled], y[labelled], x[rest], common_dim=32, steps=100, lr=3e-3),
    ):
        told = result.probabilities(x[labelled]).argmax(dim=1)
        assert float((told == y[labelled]).float().mean()) > 0.9
        assert result.log["loss"][-1] < result.log["loss"][0] / 2
    with pytest.raises(ValueError, match="expected one that was trained with a source"):
        transfer_diagnostics(target_only(x[labelled], y[labelled], steps=1))


def test_a_network_comes_back_equal(tmp_path):
    model = KTF(D, C, common_dim=7, slope=0.1)
    model.save(tmp_path)
    x = drawn(4).float()
    assert torch.equal(load_model(tmp_path)(x), model(x))


def test_wrong_input_is_refused():
    x, y = drawn(6).float(), torch.arange(6) % C
    for message, given in (
        (r"xu: expected float \(n, 5\), found \(6, 4\)", (x, y, x[:, :4])),
        (
            "xl: expected finite numbers, found some in 1 rows",
            (x.clone().index_fill(0, torch.tensor([2]), torch.nan), y, x),
        ),
        ("yl: expected at least two classes", (x, torch.zeros(6).long(), x)),
        (r"yl: expected at least two classes 0, 1, ..., none left out, found \[0, 2\]", (x, 2 * (y > 0).long(), x)),
        (r"yl: expected 6 classes, found \(5,\)", (x, y[:5], x)),
        ("source classes: expected 3, as the labelled target has, found 4", (x, y, x, noise_source(4))),
        ("priors: expected 3 positive numbers", (x, y, x, None, 0.1, 1.0, 0.05, 1e-3, 1, 0, torch.ones(3))),
        ("steps: expected at least 1", (x, y, x, None, 0.1, 1.0, 0.05, 1e-3, 0)),
    ):
        with pytest.raises(ValueError, match=message):
            fit_ktf(*given)
    with pytest.raises(ValueError, match=r"ys: expected each of 3 classes, found \[0, 1\]"):
        soft_mmd(x, y.clamp(max=1), x, y, x, torch.ones(6, 3) / 3, 3)
    with pytest.raises(ValueError, match="x: expected"):
        KTF(3, 2)(x)


def cells(*values):
    found = np.empty((1, len(values)), dtype=object)
    found[0] = values
    return found


def test_a_matlab_file_of_a_benchmark_is_read(tmp_path):
    rng = np.random.default_rng(0)
    parts = [rng.random((count, 4)) for count in (6, 5, 6, 7)]
    labels = [np.arange(len(part))[:, None] % 3 + 1 for part in parts]
    content = {
        "training_features": cells(parts[0], parts[1]), "training_labels": cells(labels[0], labels[1]),
        "testing_features": cells(parts[2], parts[3]), "testing_labels": cells(labels[2], labels[3]),
        "source_features": rng.random((9, 8)).T, "source_labels": labels[0][:, 0].repeat(2)[:9],
    }  # fmt: skip
    scipy.io.savemat(tmp_path / "task.mat", content, do_compression=True)
    found = load_shda_mat(tmp_path / "task.mat")
    assert found.source[0].shape == (9, 8)
    assert len(found.splits) == 2
    second = found.splits[1]
    assert torch.allclose(second.xl, torch.from_numpy(parts[1]).float())
    assert second.yl.tolist() == [0, 1, 2, 0, 1]
    assert second.xu.shape == (7, 4)
    assert second.yu.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_other_matlab_files_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "task.mat"
    with pytest.raises(FileNotFoundError):
        load_shda_mat(path)
    good = {"source_features": np.ones((4, 2)), "source_labels": np.arange(4) % 2 + 1}
    for wrong, message in (
        ({"other": np.ones(3)}, "expected source_features or training_features, found neither"),
        ({**good, "source_labels": np.arange(4)}, "source_labels: expected a class from 1 for each of 4 vectors"),
        ({**good, "source_labels": np.ones(3)}, "source_labels: expected a class from 1"),
        ({**good, "source_features": np.full((4, 2), np.nan)}, "source_features: expected finite numbers"),
        ({**good, "source_features": cells("a", "b")}, "source_features: expected finite numbers"),
    ):
        scipy.io.savemat(path, wrong)
        with pytest.raises(ValueError, match=message):
            load_shda_mat(path)
    scipy.io.savemat(path, good)
    content = path.read_bytes()
    for damaged in (content[:150], b"\x00" * 300, b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM", b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="expected a MATLAB file of a benchmark"):
            load_shda_mat(path)
    scipy.io.savemat(path, {**good, "source_features": np.zeros((400, 400))}, do_compression=True)
    monkeypatch.setattr(ktf_sources, "MAX_MAT_BYTES", 100_000)
    assert path.stat().st_size < 10_000
    with pytest.raises(ValueError, match="found more when unpacked"):
        load_shda_mat(path)


def test_the_command_labels_what_has_no_labels(tmp_path, capsys):
    x, y, labelled, rest, _ = digits(2, 200)
    names, episodes = tuple("0123456789"), np.arange(len(y))
    everything = VectorFile(x.numpy(), episodes, y.numpy(), names)
    label_few.rows_of(everything, labelled).write(tmp_path / "few.npz")
    VectorFile(x[rest].numpy(), episodes[rest]).write(tmp_path / "many.npz")
    label_few.rows_of(everything, rest).write(tmp_path / "bank.npz")
    few = ["--labelled", str(tmp_path / "few.npz"), "--unlabelled", str(tmp_path / "many.npz"), "--steps", "20"]
    label_few.main([*few, "--output", str(tmp_path / "out")])
    found = read_vectors(tmp_path / "out" / "labels.npz")
    assert len(found.labels) == 200
    assert found.names == names
    assert load_model(tmp_path / "out" / "model").config["target_dim"] == 64
    assert "200 vectors labelled after 30 labels of 10 classes" in capsys.readouterr().out
    for method, place in (("ktf", "bank"), ("stn", "projected")):
        label_few.main(
            [*few, "--source", str(tmp_path / "bank.npz"), "--method", method, "--output", str(tmp_path / place)]
        )
    drawn_words = ["--labelled", str(tmp_path / "bank.npz"), "--per-class", "3", "--steps", "20", "--held-out", "0.3"]
    label_few.main([*drawn_words, "--imbalanced", "--output", str(tmp_path / "drawn")])
    out = capsys.readouterr().out
    assert "unlabelled: " in out
    assert "(60 vectors)" in out
    with pytest.raises(ValueError, match="source: expected a file for the method stn"):
        label_few.main([*few, "--method", "stn", "--output", str(tmp_path / "none")])
    with pytest.raises(ValueError, match="per_class: expected at most"):
        label_few.main([*drawn_words[:2], "--per-class", "99", "--output", str(tmp_path / "none")])
    with pytest.raises(ValueError, match="expected labels, found none"):
        label_few.main(["--labelled", str(tmp_path / "many.npz"), "--output", str(tmp_path / "none")])
