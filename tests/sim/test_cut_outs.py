from __future__ import annotations

import numpy as np
import pytest

from representation.analysis.invariance_transfer.objects import read_pictures
from sim.cut_outs import main, mujoco_objects

RED_BALL = """
<mujoco>
  <worldbody>
    <geom type="plane" size="1 1 0.1" rgba="0 1 0 1"/>
    <body pos="0.3 0 0.05"><geom type="sphere" size="0.05" rgba="1 0 0 1"/></body>
  </worldbody>
</mujoco>
"""


def test_an_object_is_cut_out_of_what_surrounds_it(tmp_path):
    path = tmp_path / "ball.xml"
    path.write_text(RED_BALL)
    (ball,) = mujoco_objects([path], 32, seed=0)
    shown = ball[..., 3] > 128
    assert shown.sum() == pytest.approx(np.pi * 16**2, rel=0.05)
    assert ball[shown][:, 0].min() > 100
    assert ball[shown][:, 1].max() < 100
    path.write_text("<mujoco><worldbody><geom type='plane' size='1 1 1'/></worldbody></mujoco>")
    with pytest.raises(ValueError, match=r"ball\.xml: expected an MJCF of something to see: geoms"):
        mujoco_objects([path], 32, seed=0)


def test_the_command_writes_what_an_audit_reads(tmp_path):
    main(["--output", str(tmp_path / "cuts"), "--count", "2", "--backgrounds", "3", "--size", "24"])
    objects, names = read_pictures(tmp_path / "cuts" / "foregrounds", cut_out=True)
    assert names == ("object_000", "object_001")
    assert all((one[..., 3] == 0).any() for one in objects)
    assert len(read_pictures(tmp_path / "cuts" / "backgrounds", cut_out=False)[0]) == 3
