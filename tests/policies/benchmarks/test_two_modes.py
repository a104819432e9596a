from __future__ import annotations

import json

import pytest
import torch

from policies.bench import main
from policies.benchmarks.two_modes import (
    EITHER,
    LEFT,
    RIGHT,
    Learner,
    TwoModesSettings,
    arcs,
    distance_to_arcs,
    draw_motions,
    measure,
)


def test_motions_obey_their_text_and_their_average_lies_on_neither_arc():
    generator = torch.Generator().manual_seed(0)
    motions = draw_motions(300, torch.arange(300) % 3, generator)
    nearest = distance_to_arcs(motions.targets.actions, motions.start)
    assert (nearest.min(-1).values < 1e-6).all()
    sides = nearest.argmin(-1)
    assert (sides[motions.texts == LEFT] == 0).all()
    assert (sides[motions.texts == RIGHT] == 1).all()
    assert 0.3 < sides[motions.texts == EITHER].float().mean() < 0.7
    straight = torch.zeros(1, 16, 128)
    start = torch.zeros(1, 2)
    straight[..., [0, 1]] = (arcs(start, torch.ones(1)) + arcs(start, -torch.ones(1))) / 2
    assert distance_to_arcs(straight, start).min() == pytest.approx(0.3, abs=0.02)


def test_a_little_training_teaches_the_text():
    learner = Learner(0, False, TwoModesSettings(steps=40, test=64))
    assert measure(learner)["text followed"] < 0.7
    learner.train("test")
    assert measure(learner)["text followed"] > 0.9


def test_the_command_trains_both_kinds_for_every_seed(capsys):
    assert main(["two_modes", "--modes.steps", "2", "--modes.seeds", "2", "--modes.test", "8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["results"]
    assert {kind: len(rows) for kind, rows in found.items()} == {"diffusion": 2, "regression": 2}
