from __future__ import annotations

import json

import numpy as np
import pytest

from policies.bench import BENCHMARKS, main
from policies.benchmarks.sphere_depth import FAR, FOCAL, NEAR, SIDE, draw_pictures


def test_the_picture_of_a_sphere_tells_its_direction_and_only_the_depth_its_distance():
    pictures = draw_pictures(50, np.random.default_rng(0))
    discs = (pictures.rgb[:, 0] > 0.5).numpy()
    sizes = discs.sum((1, 2))
    assert sizes.std() / sizes.mean() < 0.05
    for disc, depth, position in zip(discs, pictures.depth.numpy(), pictures.positions, strict=True):
        distance = depth[disc][0]
        assert position[2] == pytest.approx((distance - (NEAR + FAR) / 2) / ((FAR - NEAR) / 2), abs=1e-5)
        u = (np.nonzero(disc)[1] + 0.5).mean()
        assert position[0] * 0.5 * FAR == pytest.approx((u - SIDE / 2) / FOCAL * distance, abs=0.01)


def test_the_benchmark_trains_and_compares_every_variant(capsys):
    tiny = ["--sphere.train", "128", "--sphere.test", "20", "--sphere.epochs", "1", "--sphere.seeds", "2", "--json"]
    assert main(["sphere_depth", *tiny]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {name: len(errors) for name, errors in result["errors"].items()} == {
        "Ego3D": 2,
        "no Ego3D": 2,
        "Ego3D, zeroed at test": 2,
    }
    assert 0 < result["quantisation_floor"] < min(result["errors"]["Ego3D"])


def test_an_unknown_benchmark_is_named(capsys):
    assert main(["tea"]) == 1
    assert f"expected one of {', '.join(BENCHMARKS)}, found 'tea'" in capsys.readouterr().err
