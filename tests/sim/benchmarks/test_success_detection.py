from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from representation.data.frames import Frames
from representation.registry import load_encoder
from sim.bench import BENCHMARKS, main, write
from sim.benchmarks.success_detection import (
    DETECTORS,
    PRIOR,
    TUNED,
    SuccessSettings,
    captioned,
    finetune,
    instructed,
    new_encoder,
    scored,
)
from sim.benchmarks.success_episodes import (
    EARLY,
    EMPTY,
    EXPERT,
    HOLDING,
    KINDS,
    NOISY,
    WRONG_OBJECT,
    judged_episodes,
    staged_pictures,
)

SMALL = SuccessSettings(size=32, steps=60, batch=16, lr=6e-3)


def walls(count=48):
    """Dark and bright pictures; "a dark wall" is done in the dark ones, "a bright wall" in the bright ones."""
    rng = np.random.default_rng(0)
    bright, asked = rng.integers(0, 2, count).astype(bool), rng.integers(0, 2, count).astype(bool)
    images = np.where(bright, 220, 30)[:, None, None, None] + rng.integers(0, 20, (count, 32, 32, 3))
    texts = [f"a {'bright' if one else 'dark'} wall" for one in asked]
    columns = {"success": bright == asked, "asked": asked.astype(np.int64)}
    return Frames(images.astype(np.uint8), np.arange(count), columns, {"asked": ("dark", "bright")}, texts)


def test_the_probability_is_that_of_the_scores_of_both_phrases():
    frames = walls(4)
    encoder = new_encoder(frames, frames, 32, 0)
    found = scored(encoder, frames, instructed(frames))
    with torch.inference_mode():
        for row, text in enumerate(frames.texts):
            phrases = [f"done: {text}", f"not done: {text}"]
            expected = encoder.scores(frames.pixels(np.array([row])), phrases)[0, 0]
            assert found[row] == pytest.approx(float(expected), abs=1e-5)
    assert captioned(frames)[0] == (HOLDING.format(frames.names["asked"][frames.columns["asked"][0]]), EMPTY)


def test_fine_tuning_binds_what_is_asked_to_what_is_seen():
    frames = walls()
    encoder = new_encoder(frames, frames, 32, 0)
    finetune(encoder, frames, SMALL, 0)
    found, success = scored(encoder, frames, instructed(frames)), frames.columns["success"]
    assert found[success].min() > found[~success].max()


def test_judgements_have_the_truth_of_the_simulation():
    judged = judged_episodes(2, 32, 0)
    kinds = [KINDS[kind] for kind in judged.columns["kind"]]
    assert kinds[:2] == [EXPERT, EARLY]
    assert {NOISY, WRONG_OBJECT} <= set(kinds)
    assert judged.columns["success"][0]
    for row, kind in enumerate(kinds):
        assert judged.names["asked"][judged.columns["asked"][row]] in judged.texts[row]
        if kind in (EARLY, WRONG_OBJECT):
            assert not judged.columns["success"][row]
        if kind == WRONG_OBJECT:
            last = row - 2
            np.testing.assert_array_equal(judged.images[row], judged.images[last])
            assert judged.columns["asked"][row] != judged.columns["asked"][last]


def test_staged_pictures_show_what_their_captions_say():
    staged = staged_pictures(12, 48, 0)
    assert EMPTY in staged.texts
    again = staged_pictures(2, 48, 0)
    np.testing.assert_array_equal(again.images, staged.images[:2])
    assert sum(text != EMPTY for text in staged.texts) > 4


def test_the_command_judges_by_every_detector_and_draws(tmp_path, capsys):
    words = [
        "--success.episodes",
        "6",
        "--success.held-out",
        "3",
        "--success.size",
        "32",
        "--success.steps",
        "2",
        "--success.staged",
        "8",
    ]
    words += ["--success.pretraining-steps", "2", "--success.batch", "8", "--success.seeds", "2"]
    given = ["success_detection", *words, "--success.output", str(tmp_path / "detector"), "--json"]
    assert main(given) == 0
    result = json.loads(capsys.readouterr().out)["success_detection"]
    assert set(result["auc"]) == set(DETECTORS)
    assert result["auc"][PRIOR] == [0.5, 0.5]
    assert load_encoder(tmp_path / "detector").width == 64
    write("success_detection", result, tmp_path)
    page = (tmp_path / "success_detection.md").read_text()
    assert f"\n{TUNED} " in page
    assert (tmp_path / "success_detection.png").stat().st_size > 1000
    assert BENCHMARKS["success_detection"].format_text(result) in page


def test_an_interval_needs_two_seeds(capsys):
    assert main(["success_detection", "--success.seeds", "1"]) == 1
    assert "seeds: expected at least 2, found 1" in capsys.readouterr().err
