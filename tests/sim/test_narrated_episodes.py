from __future__ import annotations

import numpy as np

from sim.episode_id import EpisodeId
from sim.narrated_episodes import LONGEST, record, script
from sim.simulation import SimulationConfig, TabletopSimulation


def test_the_arm_does_what_each_sentence_says():
    simulation = TabletopSimulation(SimulationConfig(cameras=("front",), width=32, height=32))
    frames = record(simulation, EpisodeId("stack", "nominal", 1, 0, 1000))
    simulation.close()
    sentences = [sentence for _, sentence in frames]
    runs = [sentence for k, sentence in enumerate(sentences) if k == 0 or sentence != sentences[k - 1]]
    assert len(runs) == len(set(runs)) == 4
    assert max(sentences.count(sentence) for sentence in runs) < LONGEST  # all came true before their time was over
    gripper = np.array([values["observation.state"][-1] for values, _ in frames])
    squeezed = np.array([any(word in sentence for word in ("gripper", "fingers", "shut")) for sentence in sentences])
    assert gripper[squeezed].min() < 0.5 * gripper[0]
    assert all(values["observation.images.front"].shape == (32, 32, 3) for values, _ in frames)


def test_orders_and_words_are_drawn_anew():
    rng, words = np.random.default_rng(0), {"object": "red cube", "base": "blue cylinder"}
    scripts = [tuple(sentence for sentence, _ in script(words, rng)) for _ in range(50)]
    assert len({scripts_first[0] for scripts_first in scripts}) == 12  # each of twelve sentences begins some script
    assert len(set(scripts)) > 45
