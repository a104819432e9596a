from __future__ import annotations

import pytest

from policies.train_config import POLICY_DIRECTORY
from sim.bench import main
from sim.benchmarks import low_rank_heads
from sim.benchmarks.low_rank_heads import FIRST_RECORDED_SEED, HeadSettings
from sim.summary import write_results
from tests.sim.synthetic_run import describe, result

POLICY, EPISODES, SEEDS, WHOLE, NETWORK = "spatialvla_small", 6, 2, 100, 1000
NUMBERS, FAILING = {0.05: 80, 0.5: 10}, {0.05: 1, 0.5: EPISODES}  # by tolerance


@pytest.fixture
def tried(monkeypatch):
    """What was asked for, and a result, with heads and episodes that are made up.

    The whole policy succeeds in all episodes, those of low rank fail in the first of each seed.
    """
    asked = {"recorded": [], "explained": [], "evaluated": []}
    failing = {}

    def explain(options):
        asked["explained"].append(options)
        failing[str(options.output / POLICY_DIRECTORY)] = FAILING[options.tolerance]
        layer = {"weights": "language_model.lm_head"}
        return {
            "heads": [
                {"name": "translation", "layers": [layer | {"kept": 7}]},
                {"name": "rotation", "layers": [layer | {"kept": None}]},
            ],
            "head_numbers": [WHOLE, NUMBERS[options.tolerance]],
            "network_numbers": NETWORK,
            "difference": {"share_of_variance": options.tolerance, "mean_absolute": [0.0]},
        }

    def evaluate(arguments, command):
        asked["evaluated"].append(arguments)
        failed, protocol = failing.get(arguments.policy, 0), arguments.protocol()
        results = [result(episode, episode.index >= failed) for episode in protocol.episode_ids()]
        write_results(arguments.output, results, describe(protocol, arguments.policy))

    monkeypatch.setattr(low_rank_heads, "collect", asked["recorded"].append)
    monkeypatch.setattr(low_rank_heads, "explain", explain)
    monkeypatch.setattr(low_rank_heads, "evaluate", evaluate)
    settings = HeadSettings((POLICY,), tuple(NUMBERS), SEEDS, demonstrations=4, episodes=EPISODES)
    return asked, low_rank_heads.run(settings)


def test_each_seed_has_demonstrations_of_its_own_and_all_policies_try_the_same_episodes(tried):
    asked, found = tried
    recorded = asked["recorded"]
    assert [(one.seed, one.task, one.cameras) for one in recorded] == [
        (FIRST_RECORDED_SEED + seed, "pick", ("front",)) for seed in range(SEEDS)
    ]
    each = len(NUMBERS)
    assert [one.dataset for one in asked["explained"]] == [one.output for one in recorded for _ in range(each)]
    for seed in range(SEEDS):
        part = asked["evaluated"][seed * (each + 1) : (seed + 1) * (each + 1)]
        assert [one.policy == POLICY for one in part] == [True] + [False] * each
        assert {(one.seed, one.protocol().sha256()) for one in part} == {(seed, part[0].protocol().sha256())}
    assert found["policies"][POLICY]["successes"] == [EPISODES] * SEEDS


def test_differences_are_paired_over_the_episodes_of_all_seeds(tried):
    _, found = tried
    mild, coarse = found["policies"][POLICY]["tolerances"]
    assert [head["successes"] for head in mild["heads"]] == [EPISODES - 1] * SEEDS
    assert mild["heads"][0]["kept"] == {"translation (lm_head)": 7, "rotation (lm_head)": None}
    assert mild["paired"]["episodes"] == SEEDS * EPISODES
    assert mild["paired"]["success_difference"] == pytest.approx(-1 / EPISODES)
    assert coarse["paired"]["success_difference_95"] == [-1.0, -1.0]


def test_the_page_has_ranks_compression_successes_and_what_is_asked(tried):
    _, found = tried
    page = low_rank_heads.format_markdown(found)
    ranks = "translation (lm_head) 7, 7; rotation (lm_head) whole, whole"
    assert f"| {POLICY}, pick | 0.05 | {ranks} | 80 | 80.0 % | 5.0 % | 10 of 12 | 2, 0 | -16.7 % (" in page
    assert "up to 22.1 % of episodes" in page
    assert "10% of the 1000 numbers of spatialvla_small" in page
    assert all(f"- {line}" in page for line in low_rank_heads.format_text(found).splitlines() if "asked" in line)
    assert "asked: below 0 (control): yes" in page


@pytest.mark.parametrize(
    ("mild", "coarse", "numbers", "expected"),
    [
        ([-0.1, 0.0], [-0.5, -0.3], 50, [True, True]),
        ([-0.1, -0.01], [-0.5, -0.3], 50, [False, True]),
        ([-0.1, 0.0], [-0.5, 0.0], 50, [True, False]),
        ([-0.1, 0.0], [-0.5, -0.3], WHOLE, [False, True]),
    ],
)
def test_a_loss_a_control_without_one_and_a_head_that_stays_whole_are_no(mild, coarse, numbers, expected):
    rows = [
        {
            "tolerance": tolerance,
            "heads": [{"numbers": [WHOLE, numbers]}],
            "paired": {"success_difference_95": interval},
        }
        for tolerance, interval in ((0.05, mild), (0.5, coarse))
    ]
    assert list(low_rank_heads.claims({"policies": {POLICY: {"tolerances": rows}}}).values()) == expected


def test_a_policy_without_a_trial_is_refused(capsys):
    assert main(["low_rank_heads", "--heads.policies", "expert"]) == 1
    assert "expected some of spatialvla_small, rdt_small, found expert" in capsys.readouterr().err
