import numpy as np
import pytest
import torch

from representation.analysis.feature_bias import (
    BiasStudyConfig,
    FeatureSpec,
    FeatureTask,
    TrainOptions,
    activations,
    audit,
    bias_study,
    decodability,
    encoder_audit,
    epochs_to_learn,
    linear_cka,
    mean_unit_r2,
    pca_alignment,
    regression_similarity,
    rsa,
    train_until,
    unit_density,
    variance_explained,
)
from representation.analysis.feature_bias.audit import frame_factors
from representation.analysis.feature_bias.networks import new_network
from representation.data.frames import Frames

EASY_AND_HARD = FeatureTask(16, (FeatureSpec("linear", (0,)), FeatureSpec("parity", (8, 9, 10))))


def linear_mixture(count=20_000, units=12, noise=0.3):
    """Activations of two independent factors of -1 and 1, the factors, and the shares that they have by hand."""
    rng = np.random.default_rng(0)
    factors = rng.choice([-1.0, 1.0], (count, 2))
    a, b = rng.normal(size=units), 0.5 * rng.normal(size=units)
    h = factors @ np.stack([a, b]) + noise * rng.normal(size=(count, units))
    total = a @ a + b @ b + units * noise**2
    return h, factors, (a @ a / total, b @ b / total)


def factorial(levels=(2, 2, 2), repeats=8):
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in levels], indexing="ij"), -1).reshape(-1, len(levels))
    return np.repeat(grid, repeats, axis=0)


def test_shares_are_those_that_a_linear_mixture_was_made_with():
    h, factors, wanted = linear_mixture()
    report = variance_explained(h, factors)
    assert list(report.per_factor.values()) == pytest.approx(wanted, abs=0.01)
    assert report.residual == pytest.approx(1 - report.joint)


def test_shares_do_not_change_with_rotation_scale_or_shift():
    h, factors, _ = linear_mixture(2000)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))[0]
    wanted = list(variance_explained(h, factors).per_factor.values())
    for other in (h @ turn, 7.5 * h, h + np.arange(12)):
        assert list(variance_explained(other, factors).per_factor.values()) == pytest.approx(wanted, abs=1e-10)


def test_shares_add_up_on_a_full_factorial_design():
    factors = factorial()
    h = np.random.default_rng(2).normal(size=(len(factors), 5)) + factors @ np.array([[1, 0, 2, 0, 0]] * 3)
    report = variance_explained(h, factors)
    assert sum(report.per_factor.values()) == pytest.approx(report.joint, abs=1e-10)
    assert report.shared == pytest.approx(0, abs=1e-10)


def test_correlated_factors_have_unique_and_shared_parts_that_add_up():
    rng = np.random.default_rng(3)
    first = rng.normal(size=500)
    factors = np.stack([first, first + 0.5 * rng.normal(size=500), rng.normal(size=500)], axis=1)
    h = factors @ rng.normal(size=(3, 6)) + rng.normal(size=(500, 6))
    report = variance_explained(h, factors)
    assert sum(report.per_factor.values()) > report.joint + 0.05
    assert sum(report.unique.values()) + report.shared == pytest.approx(report.joint, abs=1e-10)
    assert report.shared > 0.05


def test_classes_explain_nothing_by_chance_on_average():
    rng = np.random.default_rng(4)
    found = [
        variance_explained(rng.normal(size=(60, 4)), {"class": rng.integers(0, 10, 60)}, joint=False).per_factor[
            "class"
        ]
        for _ in range(200)
    ]
    assert np.mean(found) == pytest.approx(0, abs=0.015)


def test_products_of_factors_are_found_where_they_are_represented():
    factors = 2 * factorial((2, 2), 50) - 1
    h = np.stack([factors[:, 0], factors[:, 0] * factors[:, 1]], axis=1).astype(float)
    report = variance_explained(h, factors, interactions=True)
    assert report.joint == pytest.approx(0.5)
    assert report.interactions == pytest.approx(0.5)
    assert report.residual == pytest.approx(0, abs=1e-10)


def test_weights_count_rows_as_if_they_were_there_more_often():
    h, factors, _ = linear_mixture(200)
    weights = np.random.default_rng(5).integers(1, 4, 200)
    wanted = variance_explained(np.repeat(h, weights, axis=0), np.repeat(factors, weights, axis=0))
    found = variance_explained(h, factors, weights=weights)
    assert found.joint == pytest.approx(wanted.joint, abs=1e-10)
    assert found.unique == pytest.approx(wanted.unique, abs=1e-10)


def test_units_components_and_their_means_are_counted_by_hand():
    rng = np.random.default_rng(6)
    f = rng.choice([-1.0, 1.0], (4000, 2))
    h = np.stack([3 * f[:, 0], 3 * f[:, 0], f[:, 1], np.zeros(4000)], axis=1) + 1e-3 * rng.normal(size=(4000, 4))
    assert unit_density(h, f) == {"0": 0.5, "1": 0.25}
    assert mean_unit_r2(h, f)["0"] == pytest.approx(0.5, abs=0.01)
    shown = pca_alignment(h, f, k=3)
    assert (shown["0"].rank, shown["1"].rank) == (1, 2)
    assert shown["0"].variance == pytest.approx(18 / 19, abs=0.01)
    alone = variance_explained(h[:, [0]], f, joint=False).per_factor["0"]
    assert alone == pytest.approx(np.corrcoef(h[:, 0], f[:, 0])[0, 1] ** 2, abs=1e-10)


def test_networks_are_alike_to_their_own_rotations_and_not_to_others():
    rng = np.random.default_rng(7)
    h, other = rng.normal(size=(80, 6)), rng.normal(size=(80, 6))
    turned = 2 * h @ np.linalg.qr(rng.normal(size=(6, 6)))[0]
    for measure in (rsa, linear_cka, regression_similarity):
        assert measure(h, turned) == pytest.approx(1, abs=1e-9)
        assert measure(h, other) < 0.4
    assert rsa(h, 3 * h, metric="cosine", method="pearson") == pytest.approx(1)


def test_labels_of_a_task_are_balanced_independent_and_as_hard_as_they_should_be():
    features = (FeatureSpec("linear", (0,)), FeatureSpec("majority", (3, 4, 5)), FeatureSpec("parity", (8, 9, 10)))
    samples = FeatureTask(16, features).sample(8192)
    labels = samples.labels.numpy()
    assert np.abs(labels.mean(axis=0) - 0.5).max() < 0.02
    assert np.abs(np.corrcoef(labels.T) - np.eye(3)).max() < 0.03
    read = decodability(samples.inputs.numpy(), labels.astype(int))
    assert read["0"].score == 1.0
    assert read["2"].score < 0.56
    by_hand = samples.bits[:, 8] ^ samples.bits[:, 9] ^ samples.bits[:, 10]
    np.testing.assert_array_equal(labels[:, 2] > 0.5, by_hand)


def test_inputs_are_copied_labelled_and_held_out_as_asked():
    features = (FeatureSpec("linear", (0, 1, 2)), FeatureSpec("parity", (3, 4), given=0), FeatureSpec("linear", (5,)))
    task = FeatureTask(8, features, prevalence={2: 0.25}, noise=0.1)
    train, test = task.split(40, 10)
    assert not {row.tobytes() for row in train.bits} & {row.tobytes() for row in test.bits}
    many = task.sample(4000)
    assert (many.bits[:, 0] == many.bits[:, 1]).all()
    assert (many.bits[:, 0] == many.bits[:, 2]).all()
    assert torch.equal(many.labelled[:, 1], many.labels[:, 0] > 0.5)
    assert float(many.labelled[:, 2].float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float((many.inputs - torch.from_numpy(many.bits).float()).std()) == pytest.approx(0.1, abs=0.01)
    assert torch.equal(many.inputs, task.sample(4000).inputs)
    with pytest.raises(ValueError, match="expected to leave 60 of 2\\^6 inputs"):
        task.split(400, 60)


def test_pictures_show_their_bits():
    task = FeatureTask(8, (FeatureSpec("linear", (2,)), FeatureSpec("parity", (0, 4))), form="image")
    samples = task.sample(64)
    assert samples.inputs.shape == (64, 3, 32, 64)
    red_minus_blue = (samples.inputs[:, 0] - samples.inputs[:, 2])[..., :32].sum(dim=(1, 2))
    assert torch.equal(red_minus_blue < 0, samples.labels[:, 0] > 0.5)


def test_an_untrained_perceptron_holds_little_of_any_feature():
    test = EASY_AND_HARD.split(4096, 1024)[1]
    for seed in range(3):
        h = activations(new_network("mlp", EASY_AND_HARD, seed), test.inputs)
        easy, hard = variance_explained(h, test.labels.numpy(), joint=False).per_factor.values()
        assert easy < 0.1
        assert hard < 0.01


def test_a_perceptron_tells_both_features_and_spends_its_variance_on_the_easy_one():
    table = bias_study(BiasStudyConfig(EASY_AND_HARD, target_acc=0.995, seeds=1))
    easy, hard = table.to_dict("records")
    assert easy["reached"]
    assert easy["share"] >= 3 * hard["share"]
    assert hard["decodability"] >= 0.98
    assert easy["component"] == 1
    assert easy["density"] > hard["density"]


@pytest.mark.parametrize(("architecture", "form"), [("cnn", "image"), ("resnet", "image"), ("transformer", "sequence")])
def test_other_networks_learn_and_keep_a_curve_of_shares(architecture, form):
    task = FeatureTask(8, (FeatureSpec("linear", (2,)), FeatureSpec("linear", (6,))), form=form)
    model = new_network(architecture, task, seed=0)
    options = TrainOptions(lr=3e-3, batch=16, train=160, test=48, curve=True)
    log = train_until(model, task, max_epochs=12, options=options, target_acc=0.9)
    assert log.accuracy[-1].max() > 0.75
    assert log.shares.shape == log.accuracy.shape
    assert log.epochs <= 12


def test_what_is_built_on_a_large_feature_is_learned_sooner():
    rng = np.random.default_rng(8)
    f = rng.choice([-1.0, 1.0], (512, 2))
    h = np.concatenate([3 * f[:, [0]], 0.1 * f[:, [1]], rng.normal(size=(512, 8))], axis=1)
    fast, slow = (epochs_to_learn(h, f[:, column] > 0, target=0.99) for column in (0, 1))
    assert fast < 5
    assert slow is None or slow > 2 * fast


class FixedEncoder:
    """Gives rows of a table by the first pixel of a picture."""

    modality, width = "image", 6

    def __init__(self, table):
        self.table = torch.from_numpy(table).float()

    def encode(self, inputs):
        return self.table[(255 * inputs[:, 0, 0, 0]).round().long()]


def test_an_audit_warns_of_factors_that_are_told_but_hardly_there():
    rng = np.random.default_rng(9)
    columns = {"object": rng.integers(0, 3, 200), "closed": rng.integers(0, 2, 200), "light": rng.normal(size=(200, 2))}
    columns["turn"] = rng.uniform(-np.pi, np.pi, 200)
    h = np.eye(3)[columns["object"]] * 5
    h = np.concatenate([h, 0.2 * columns["closed"][:, None], 0.01 * rng.normal(size=(200, 2))], axis=1)
    images = np.tile(np.arange(200, dtype=np.uint8)[:, None, None, None], (1, 4, 4, 3))
    frames = Frames(images, np.arange(200), columns)
    report = encoder_audit(FixedEncoder(h), frames, angles=("turn",))
    assert report.rows[0].factor == "object"
    assert len(report.warnings) == 1
    assert report.warnings[0].startswith("closed can be read (1.00")
    assert frame_factors(frames, angles=("turn",))["turn"].shape == (200, 2)
    assert len(report.lines()) == 2 + len(columns)
    by_layer = audit(h, columns)
    assert {row.factor for row in by_layer.rows} == set(columns)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: variance_explained(np.ones((4, 2)), np.arange(4)[:, None]), "expected some variance"),
        (lambda: variance_explained(np.full((4, 2), np.nan), np.arange(4)[:, None]), "NaN or infinity in 4 rows"),
        (lambda: variance_explained(np.eye(4), {"grip": np.ones(4)}), "factor grip: expected more than one value"),
        (lambda: variance_explained(np.eye(4), {"grip": np.arange(3)}), r"factor grip: expected \(4,\)"),
        (lambda: variance_explained(np.eye(4), {"f": np.arange(4)}, weights=-np.ones(4)), "weights: expected"),
        (lambda: variance_explained(np.eye(4), {}), "factors: expected at least one"),
        (lambda: decodability(np.eye(6), {"f": np.array([0, 1, 1, 1, 1, 1])}), "cv: expected 2 to 1"),
        (lambda: rsa(np.eye(4), np.eye(5)), "expected as many rows"),
        (lambda: FeatureSpec("majority", (0, 1)), "expected an odd number"),
        (lambda: FeatureTask(4, (FeatureSpec("linear", (0,)), FeatureSpec("parity", (0, 1)))), "different units of 4"),
        (lambda: new_network("cnn", EASY_AND_HARD, 0), "expected one for inputs of form vector"),
        (lambda: train_until(new_network("mlp", EASY_AND_HARD, 0), EASY_AND_HARD, only=(2,)), "only: expected"),
        (lambda: audit(np.eye(8), {"f": np.arange(8) % 2}, least_share=0), "least_share"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
