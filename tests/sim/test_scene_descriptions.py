import numpy as np

from representation.benchmarks.mbat_vsa import damaged, swapped
from sim.scene_descriptions import describe


def test_scenes_say_what_stands_where_and_twins_say_the_same_of_others():
    scenes = describe(6, seed=1)
    assert scenes == describe(6, seed=1)
    assert len({scene["task"] for scene in scenes}) == 6
    rich = next(scene for scene in scenes if len(scene["objects"]) > 1)
    for item in rich["objects"].values():
        assert 0.2 < item["position"][0] < 0.9
        assert item["position"][2] > 0
    rng = np.random.default_rng(0)
    twin = swapped(rich, rng)
    assert twin != rich
    assert sorted(map(str, twin["objects"].values())) == sorted(map(str, rich["objects"].values()))
    less = damaged(rich, rng)
    assert set(less["objects"]) <= set(rich["objects"])
    fields = sum(len(item) for item in rich["objects"].values())
    assert 0 < sum(len(item) for item in less["objects"].values()) < fields
