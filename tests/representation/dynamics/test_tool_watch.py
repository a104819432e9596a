from __future__ import annotations

import numpy as np
import pytest
import torch

from representation.dynamics.hamiltonian_meta import HamiltonianConfig, HamiltonianNet
from representation.dynamics.hamiltonian_meta.energy_alarm import AlarmConfig, EnergyAlarm
from representation.dynamics.hamiltonian_meta.joint_readings import ReadingBreakError
from representation.dynamics.hamiltonian_meta.tool_watch import ToolWatch, WatchConfig
from tests.representation.dynamics.test_hamiltonian_meta import noisy, swing

ALARM = AlarmConfig(steps=100, lr=1e-2)
HIT, AT = 0.3, 4.5


@pytest.fixture(scope="module")
def net() -> HamiltonianNet:
    torch.manual_seed(0)
    return HamiltonianNet(HamiltonianConfig(coordinates=1, hidden=32))


def told(watch: ToolWatch, net: HamiltonianNet, window, fit_takes: int = 20, every: int = 5) -> list[float]:
    """Stamps at which models were asked for; a fit takes so many readings."""
    asked, waiting = [], None
    for place in range(len(window.positions)):
        watch.add(10 + 0.01 * place, window.positions[place], window.velocities[place])
        if place % every:
            continue
        calm = watch.due()
        if calm is not None:
            asked.append(0.01 * place)
            waiting = (place + fit_takes, EnergyAlarm(net, calm, ALARM))
        if waiting is not None and place >= waiting[0]:
            watch.fitted(waiting[1])
            waiting = None
        watch.judge()
    return asked


def test_it_learns_from_the_calm_part_again_and_again_and_hears_what_comes(net):
    rng = np.random.default_rng(0)
    watch = ToolWatch(WatchConfig())
    asked = told(watch, net, noisy(swing(1200), rng))
    assert asked == pytest.approx([3.0, 7.0, 11.0], abs=0.06)
    assert watch.alarm_stamp is None
    assert watch.swing == pytest.approx(0.8, abs=0.02)
    watch.clear()
    assert not watch.learned
    hit = noisy(swing(900, hit=HIT, at=round(100 * AT)), rng)
    assert told(watch, net, hit) == pytest.approx([3.0], abs=0.06)  # none after the alarm
    assert 10 + AT <= watch.alarm_stamp < 10 + AT + 1.1


def test_what_comes_while_a_model_is_fitted_is_judged_when_it_is_there(net):
    watch = ToolWatch(WatchConfig())
    hit = noisy(swing(700, hit=HIT, at=330), np.random.default_rng(0))
    told(watch, net, hit, fit_takes=300)
    assert 13.3 <= watch.alarm_stamp < 14.4


def test_what_hangs_still_is_not_learned_from(net):
    still = swing(600)
    still.positions[:] *= 0.01
    watch = ToolWatch(WatchConfig())
    assert told(watch, net, still) == []
    assert watch.judge() is None
    assert 0 < watch.swing < 0.05


def test_a_jump_forgets_the_model(net):
    watch = ToolWatch(WatchConfig())
    told(watch, net, swing(400))
    assert watch.learned
    with pytest.raises(ReadingBreakError):
        watch.add(100.0, [0.0], [0.0])
    assert not watch.learned
    assert watch.readings == 1
    assert watch.judge() is None
