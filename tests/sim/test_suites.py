from __future__ import annotations

import colorsys
import dataclasses
import itertools

import numpy as np
import pytest

from sim.appearance import COLOURS, SHAPES
from sim.layout import NoRoomError
from sim.scene import OBJECT_SLOTS
from sim.suites import ALL_PAIRS, HELD_OUT_PAIRS, NOMINAL, SEVERITIES, SUITES, TRAINING_PAIRS, Variation, get_suite
from sim.tasks import TASKS, Task

CHANGES = {
    "nominal": set(),
    "lighting": {"light_direction", "light_diffuse", "light_ambient"},
    "background": {"table_rgba", "background_rgba"},
    "camera": {"camera_position_offset", "camera_target_offset"},
    "distractors": {"distractors", "same_colour_confounders"},
    "placement": {"spawn_low", "spawn_high", "distractors"},
    "held_out_pairs": {"pairs", "distractor_pairs"},
    "held_out_paraphrases": {"held_out_paraphrases"},
}


def draws(suite: str, severity: int, count: int = 50) -> list[Variation]:
    rng = np.random.default_rng(11)
    return [get_suite(suite).sample(rng, severity) for _ in range(count)]


@pytest.mark.parametrize(("suite", "severity"), list(itertools.product(CHANGES, SEVERITIES)))
def test_each_suite_changes_its_own_fields_and_no_others(suite, severity):
    names = [field.name for field in dataclasses.fields(Variation)]
    for variation in draws(suite, severity):
        changed = {name for name in names if getattr(variation, name) != getattr(NOMINAL, name)}
        assert changed == CHANGES[suite]


def test_every_suite_is_covered_by_these_tests():
    assert set(CHANGES) == set(SUITES)


@pytest.mark.parametrize("suite", ["lighting", "background", "camera", "placement"])
def test_equal_seeds_give_equal_variations_and_other_seeds_do_not(suite):
    first, again, other = (get_suite(suite).sample(np.random.default_rng(seed), 2) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def departure(suite: str, variation: Variation) -> float:
    if suite == "lighting":
        return float(np.abs(np.mean(variation.light_diffuse) / np.mean(NOMINAL.light_diffuse) - 1.0))
    if suite == "background":
        return colorsys.rgb_to_hsv(*variation.table_rgba[:3])[1]
    if suite == "camera":
        return float(np.linalg.norm(variation.camera_position_offset))
    middle = 0.5 * (np.asarray(variation.spawn_low) + variation.spawn_high)
    outside = np.maximum(NOMINAL.spawn_low - middle, middle - NOMINAL.spawn_high)
    return float(outside.max())


@pytest.mark.parametrize("suite", ["lighting", "background", "camera", "placement"])
def test_higher_severity_departs_further_from_nominal(suite):
    mild, medium, strong = (
        float(np.mean([departure(suite, variation) for variation in draws(suite, severity)])) for severity in SEVERITIES
    )
    assert 0 < mild < medium < strong


def test_placement_regions_do_not_overlap_the_training_region():
    for severity in SEVERITIES:
        for variation in draws("placement", severity):
            below = np.less_equal(variation.spawn_high, np.asarray(NOMINAL.spawn_low) + 1e-12)
            above = np.greater_equal(variation.spawn_low, np.asarray(NOMINAL.spawn_high) - 1e-12)
            assert (below | above).any()


@pytest.mark.parametrize(("suite", "task"), list(itertools.product(SUITES, TASKS)))
def test_every_suite_leaves_room_for_every_task(suite, task):
    for severity, seed in itertools.product(SEVERITIES, range(10)):
        rng = np.random.default_rng(seed)
        variation = get_suite(suite).sample(rng, severity)
        assert any(fits(TASKS[task], rng, variation) for _ in range(200)), (severity, variation)


def fits(task: type[Task], rng: np.random.Generator, variation: Variation) -> bool:
    try:
        layout = task.sample(rng, variation)
    except NoRoomError:
        return False
    return len(layout.objects) <= OBJECT_SLOTS


def test_held_out_pairs_are_balanced_and_disjoint_from_the_training_pairs():
    assert sorted(colour for colour, _ in HELD_OUT_PAIRS) == sorted(COLOURS)
    assert sorted(shape for _, shape in HELD_OUT_PAIRS) == sorted(SHAPES * 2)
    assert set(HELD_OUT_PAIRS).isdisjoint(TRAINING_PAIRS)
    assert set(HELD_OUT_PAIRS) | set(TRAINING_PAIRS) == set(ALL_PAIRS)


def test_colours_and_intensities_stay_within_range():
    for suite, severity in itertools.product(SUITES, SEVERITIES):
        for variation in draws(suite, severity, 20):
            for value in (
                variation.table_rgba,
                variation.background_rgba,
                variation.light_diffuse,
                variation.light_ambient,
            ):
                assert all(0.0 <= part <= 1.1 for part in value)


def test_light_shines_downwards_in_every_variation():
    for severity in SEVERITIES:
        for variation in draws("lighting", severity):
            assert variation.light_direction[2] < -0.5


@pytest.mark.parametrize("severity", [0, 4, 1.5])
def test_unknown_severity_is_refused(severity):
    with pytest.raises(ValueError, match="severity: expected one of"):
        get_suite("camera").sample(np.random.default_rng(0), severity)


def test_unknown_suite_is_refused_with_the_suites_that_there_are():
    with pytest.raises(ValueError, match=r"expected one of nominal, .* found 'moonlight'"):
        get_suite("moonlight")


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(COLOURS, 2)))
def test_named_colours_differ_in_hue_by_more_than_twenty_five_degrees(one, other):
    hues = [360.0 * colorsys.rgb_to_hsv(*COLOURS[name])[0] for name in (one, other)]
    apart = abs(hues[0] - hues[1])
    assert min(apart, 360.0 - apart) > 25.0
