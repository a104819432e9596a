import numpy as np
import pytest
import torch
from torch import nn

from representation.selection.ranking import (
    ALL_SCORES,
    FOLDS,
    PROBES,
    folds,
    rank_encoders,
    scaled_tmi,
    score_features,
)
from representation.selection.tmi import tmi_score


def told(noise=0.5, count=120, d=6, seed=0):
    """Features of three classes that lie apart, and episodes of two samples each."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(count // 2) % 3, 2)
    return np.eye(3, d)[y] + noise * rng.normal(size=(count, d)), y, np.repeat(np.arange(count // 2), 2)


def test_every_score_is_told_with_an_error_and_clear_features_score_above_noise():
    x, y, episodes = told()
    clear = score_features(x, y, episodes)
    noise = score_features(np.random.default_rng(1).normal(size=x.shape), y, episodes)
    assert tuple(clear) == ALL_SCORES
    assert {"tmi", "ped_logme", "benchx"} <= set(ALL_SCORES)
    for name in ALL_SCORES:
        assert np.isfinite([clear[name].value, clear[name].error, clear[name].seconds]).all()
        assert clear[name].error > 0
        if not name.startswith("tmi"):
            assert clear[name].value > noise[name].value, name
    assert clear["linear"].value > 0.75


def test_more_episodes_make_a_score_surer():
    x, y, episodes = told(count=600)
    few, many = (score_features(x[:n], y[:n], episodes[:n], ["logme"])["logme"].error for n in (60, 600))
    assert many < few


def test_episodes_are_left_out_as_a_whole_and_classes_need_enough_of_them():
    _, y, episodes = told()
    parts = folds(y, episodes, seed=0)
    assert len(parts) == FOLDS
    for fitted, scored in parts:
        assert not set(episodes[fitted]) & set(episodes[scored])
        assert set(y[fitted]) == {0, 1, 2}
    assert sorted(np.concatenate([scored for _, scored in parts])) == list(range(len(y)))
    with pytest.raises(ValueError, match="class 3: expected samples of at least 5 episodes, found 1"):
        folds(np.append(y, [3, 3]), np.append(episodes, [900, 900]), seed=0)


def test_what_is_chosen_on_is_neither_fitted_nor_scored(monkeypatch):
    x, y, episodes = told()
    seen = []
    monkeypatch.setitem(PROBES, "benchx", lambda x, y, rows, seed: seen.append(rows) or float(len(seen)))
    found = score_features(x, y, episodes, ["benchx"])["benchx"]
    assert found.value == 3.0
    assert len(seen) == FOLDS
    for parts in seen:
        assert sorted(np.concatenate(parts)) == list(range(len(y)))
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert not set(episodes[parts[one]]) & set(episodes[parts[other]])
    assert sorted(np.concatenate([chosen for _, chosen, _ in seen])) == list(range(len(y)))


def test_tmi_of_a_ranking_follows_the_scale_and_its_smallest_distance_too():
    x, y, _ = told()
    once, hundredth = scaled_tmi(x, y), scaled_tmi(x / 100, y)
    assert hundredth.score == pytest.approx(once.score - 6 / 3 * np.log(100), abs=1e-9)
    assert hundredth.clamped_fraction == once.clamped_fraction == 0
    assert scaled_tmi(x / 100, y, standardize=True).score == pytest.approx(scaled_tmi(x, y, True).score, abs=1e-9)
    with pytest.warns(UserWarning, match="below min_dist"):
        assert tmi_score(x / 100, y).clamped_fraction == 1


def test_encoders_and_layers_are_ranked_in_a_table():
    x, y, _ = told()
    torch.manual_seed(0)
    images = torch.from_numpy(x).float()
    blind = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).eval()
    encoders = {"blind": lambda part: 0 * part + torch.rand(part.shape), "all": lambda part: part[:, :, None]}
    table = rank_encoders(encoders, images, y, scores=("logme", "hscore"))
    assert list(table.index) == ["all", "blind"]
    assert list(table.columns) == [
        "logme", "hscore", "logme_error", "hscore_error", "rms", "clamped", "width", "seconds",
    ]  # fmt: skip
    deep = rank_encoders({"net": blind}, images, y, layer="0")
    assert deep.loc["net", "width"] == 8
    with torch.no_grad():
        expected = scaled_tmi(blind[0](images).double().numpy(), y).score
    assert deep.loc["net", "tmi"] == pytest.approx(expected, abs=1e-6)
    assert not blind[0]._forward_hooks


def test_bad_rankings_are_told():
    x, y, episodes = told()
    images, net = torch.from_numpy(x).float(), nn.Linear(6, 4)
    for call, words in (
        (lambda: score_features(x, y, episodes, ["leep"]), "scores: expected some of tmi"),
        (lambda: rank_encoders({}, images, y), "expected at least one each"),
        (lambda: rank_encoders({"net": net}, images, y), "net: expected an encoder in evaluation mode"),
        (lambda: rank_encoders({"net": net.eval()}, images, y, layer="3"), "layer: expected one of"),
        (lambda: rank_encoders({"f": lambda part: part}, images, y, layer="3"), "expected encoders that are modules"),
        (lambda: rank_encoders({"f": lambda part: part}, images, 0 * y), "at least 2 classes"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
