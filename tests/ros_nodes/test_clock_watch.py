from __future__ import annotations

from ros_nodes.clock_watch import ClockWatch
from ros_nodes.diagnostics import Level


def test_a_clock_that_stands_still_is_noticed_and_forgiven():
    watch = ClockWatch()
    for step in range(10):
        watch.look(now=5.0 + 0.1 * step, steady=0.1 * step)
    assert watch.health().level is Level.OK
    watch.look(now=5.9, steady=1.6)
    health = watch.health()
    assert (health.level, health.message) == (Level.ERROR, "/clock stands still at 5.900 s")
    watch.look(now=6.0, steady=1.7)
    assert watch.health().level is Level.OK


def test_a_clock_that_never_came_is_said_so():
    watch = ClockWatch()
    watch.look(now=0.0, steady=100.0)
    assert watch.health().level is Level.OK
    watch.look(now=0.0, steady=101.0)
    assert watch.health().message == "/clock never came"


def test_a_clock_that_jumps_back_goes_on():
    watch = ClockWatch()
    watch.look(now=9.0, steady=0.0)
    watch.look(now=0.0, steady=1.0)
    assert watch.health().level is Level.OK
