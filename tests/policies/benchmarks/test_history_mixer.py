from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from policies.bench import main
from policies.benchmarks.history_mixer import (
    BODY,
    ELBOW,
    KINDS,
    SPEC,
    WAIST,
    WRIST,
    HistorySettings,
    claims,
    draw_moments,
    format_markdown,
)
from policies.rdt.unified_space import slots_of


def test_only_the_order_of_the_motions_tells_what_to_do():
    moments = draw_moments(400, 60, np.random.default_rng(0))
    first, places = moments.waist_first, slots_of(BODY.names)
    assert 0.4 < first.float().mean() < 0.6
    waist, wrist = (moments.joints[..., int(places[joint])].numpy().argmax(1) for joint in (WAIST, WRIST))
    assert ((waist < wrist) == first.numpy()).all()
    for name, told in (
        ("state", moments.targets.state),
        ("mean", moments.joints.sum(1) / moments.present.sum(1, keepdim=True)),
        ("largest", moments.joints.amax(1)),
    ):
        gap = (told[first].mean(0) - told[~first].mean(0)).abs() / told.std(0).clamp(min=1e-6)
        assert gap[places].max() < 0.35, name
    rows = BODY.action_from_unified(moments.targets.actions.numpy())
    np.testing.assert_array_equal(rows[:, -1, ELBOW] > SPEC.home[ELBOW], first.numpy())
    assert moments.present[:, -1].all()
    assert not moments.present.all()


def test_a_window_that_cannot_hold_both_motions_is_refused():
    with pytest.raises(ValueError, match="window: expected at least 40, found 20"):
        HistorySettings(window=20)


def test_claims_say_no_where_they_do_not_hold():
    def row(right):
        return [{"right": right, "error": 0.1}] * 2

    def seconds(mixing):
        return {"answer": 1.0, "mixing": mixing}

    rows = {"no history": row(0.5), "ponet": row(0.9), "attention": row(0.9)}
    times = {"100": {}, "1000": {"ponet": seconds(0.1), "attention": seconds(0.6)}}
    assert all(claims(rows, times).values())
    worse = rows | {"ponet": row(0.5)}
    times["1000"]["attention"] = seconds(0.3)
    assert not any(claims(worse, times).values())


def test_the_command_trains_every_kind_for_every_seed_and_takes_times(capsys):
    small = {"steps": 2, "seeds": 2, "test": 8, "window": 40, "lengths": (40, 80), "repetitions": 1}
    words = [
        word for name, value in small.items() for word in (f"--history.{name}", *str(value).strip("()").split(", "))
    ]
    threads = torch.get_num_threads()
    try:
        assert main(["history_mixer", *words, "--json"]) == 0
    finally:
        torch.set_num_threads(threads)
    result = json.loads(capsys.readouterr().out)
    assert {kind: len(rows) for kind, rows in result["results"].items()} == dict.fromkeys(KINDS, 2)
    assert list(result["seconds"]) == ["40", "80"]
    assert all(part["answer"] > part["mixing"] >= 0 for kinds in result["seconds"].values() for part in kinds.values())
    assert all(kind in format_markdown(result) for kind in KINDS)
