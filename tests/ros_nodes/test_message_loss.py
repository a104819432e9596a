from __future__ import annotations

from ros_nodes.message_loss import LossCounter


def test_gaps_are_counted():
    counter = LossCounter()
    for number in (5, 6, 9, 10, 12):
        counter.add(number)
    assert counter.lost == 3


def test_a_restarted_publisher_is_no_loss():
    counter = LossCounter()
    for number in (7, 8, 1, 2, 4):
        counter.add(number)
    assert counter.lost == 1
