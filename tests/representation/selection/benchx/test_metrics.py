import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import f1_score, jaccard_score, roc_auc_score

from representation.selection.benchx.metrics import (
    best_threshold,
    confusion,
    multiclass_f1,
    multiclass_metrics,
    multilabel_metrics,
    segmentation_metrics,
)


@pytest.fixture
def findings():
    rng = np.random.default_rng(0)
    labels = (rng.random((500, 14)) < 0.2).astype(int)
    return rng.normal(size=(500, 14)) + 1.5 * labels, labels


def test_measures_of_several_labels_are_those_of_sklearn(findings):
    logits, labels = findings
    found = multilabel_metrics(logits, labels)
    assert found["auroc"] == pytest.approx(roc_auc_score(labels, expit(logits), average="macro"), abs=1e-9)
    told = expit(logits) >= found["threshold"]
    for average in ("micro", "macro"):
        assert found[f"{average}_f1"] == pytest.approx(f1_score(labels, told, average=average), abs=1e-9)


def test_no_threshold_for_all_labels_has_a_larger_f1(findings):
    logits, labels = findings
    chosen = best_threshold(logits, labels)
    best = f1_score(labels.ravel(), logits.ravel() >= chosen)
    tried = [f1_score(labels.ravel(), logits.ravel() >= value) for value in np.unique(logits)[::200]]
    assert best >= max(tried)


def test_two_classes_are_told_by_the_larger_logit():
    logits = np.array([[2.0, 1.0], [0.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    found = multiclass_metrics(logits, np.array([0, 1, 0, 1]))
    assert found["accuracy"] == found["precision"] == found["recall"] == found["f1"] == 0.5
    assert found["auroc"] == pytest.approx(0.375)


def test_a_label_with_one_value_is_left_out_of_the_mean(findings):
    logits, labels = findings
    found = multilabel_metrics(np.c_[logits, logits[:, :1]], np.c_[labels, np.zeros((500, 1), int)])
    assert found["auroc"] == pytest.approx(multilabel_metrics(logits, labels)["auroc"])


def test_bad_scores_and_labels_are_told(findings):
    logits, labels = findings
    with pytest.raises(ValueError, match=r"scores: expected \(500, 14\)"):
        multilabel_metrics(logits[:, :3], labels)
    with pytest.raises(ValueError, match="scores: expected finite numbers"):
        multilabel_metrics(np.full_like(logits, np.nan), labels)
    with pytest.raises(ValueError, match="found one class only"):
        multilabel_metrics(logits, np.zeros_like(labels))
    with pytest.raises(ValueError, match=r"labels: expected at least two classes, found only \[1\]"):
        multiclass_metrics(logits[:, :2], np.ones(500, int))


def test_overlaps_of_segmentations_are_those_of_sklearn():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, (4, 8, 8))
    told = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, 3, truth.shape))
    counts = confusion(told, truth, 4)
    assert counts.sum() == truth.size
    found = segmentation_metrics(counts)
    for value in range(3):
        assert found.iou[value] == pytest.approx(jaccard_score(truth.ravel() == value, told.ravel() == value))
        assert found.dice[value] == pytest.approx(f1_score(truth.ravel() == value, told.ravel() == value))
    assert np.isnan(found.dice[3]), "a class that is nowhere has no overlap"
    assert found.means()["mdice"] == pytest.approx(found.means()["mf"])


@pytest.mark.parametrize(("classes", "known"), [(2, 2), (5, 5), (5, 3)])
def test_f1_alone_is_that_of_all_measures(classes, known):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, known, 200)
    logits = rng.normal(size=(200, classes)) + np.eye(classes)[labels]
    assert multiclass_f1(logits, labels) == pytest.approx(multiclass_metrics(logits, labels)["f1"], abs=1e-12)
    with pytest.raises(ValueError, match="labels: expected at least two classes"):
        multiclass_f1(logits, 0 * labels)
