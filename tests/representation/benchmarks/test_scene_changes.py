import numpy as np
import pytest

from representation.benchmarks.claims import BenchOptions
from representation.benchmarks.scene_changes import run
from representation.data.scene_graphs import write_scene_graphs
from sim.scene_graphs import pile


def test_piles_are_learned_from_and_both_encoders_are_judged(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m sim\.scene_graphs"):
        run(BenchOptions(data=tmp_path / "renders"))
    write_scene_graphs([pile(4, 6, np.random.default_rng(seed)) for seed in range(10)], tmp_path / "piles")
    claims = run(BenchOptions(seeds=2, scale=0.002, data=tmp_path / "renders"))
    assert len(claims) == 3
    for one in claims:
        assert np.isfinite([*one.ours, *one.baseline]).all()
        assert one.ours != one.baseline
    assert all(-1 <= value <= 1 for one in claims[:2] for value in (*one.ours, *one.baseline))
    assert max(*claims[2].ours, *claims[2].baseline) < 0
