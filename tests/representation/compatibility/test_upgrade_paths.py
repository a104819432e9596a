from __future__ import annotations

import itertools
from dataclasses import fields

import pytest

from representation.compatibility.upgrade_paths import PATHS, Available, choose_path, obstacles

EVERYTHING = Available(*[True] * len(fields(Available)))


@pytest.mark.parametrize(
    ("available", "path"),
    [
        (Available(labels=True, old_encoder=True, simplex=True, keep_new=True), "d_simplex"),
        (Available(labels=True, old_encoder=True, coordinates=True, anchors=True), "relative_representations"),
        (Available(labels=True, old_encoder=True, keep_new=True, old_pictures=True), "bt2"),
        (Available(labels=True, old_encoder=True), "oca"),
        (Available(labels=True, prototypes=True, keep_new=True), "oca"),
        (Available(old_encoder=True, anchors=True), "relative_representations"),
        (Available(old_encoder=True, old_pictures=True), "relative_representations"),
        (Available(old_encoder=True, simplex=True, anchors=True), "relative_representations"),
        (Available(labels=True, old_pictures=True), "reindex"),
    ],
)
def test_what_there_is_decides(available, path):
    choice = choose_path(available)
    assert choice.path == path
    assert choice.reason
    assert set(choice.others) == set(PATHS) - {path}


def test_every_situation_gets_a_path_that_can_be_taken_or_is_told_what_is_missing():
    for values in itertools.product((False, True), repeat=len(fields(Available))):
        available = Available(*values)
        missing = obstacles(available)
        if all(missing.values()):
            with pytest.raises(ValueError, match="found too little: d_simplex needs"):
                choose_path(available)
            continue
        choice = choose_path(available)
        assert not missing[choice.path]
        for path, why in choice.others.items():
            assert why == (f"needs {missing[path]}" if missing[path] else "comes after it")


def test_a_wanted_path_is_taken_if_it_can_be():
    for path in PATHS:
        assert choose_path(EVERYTHING, path).path == path
    with pytest.raises(ValueError, match="path bt2: expected the old encoder; found none"):
        choose_path(Available(labels=True), "bt2")
    with pytest.raises(ValueError, match="path: expected auto, d_simplex"):
        choose_path(EVERYTHING, "bct")
