from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ros_nodes.domains import DOMAINS, own_domain

HOLD = """
from ros_nodes.domains import own_domain
with own_domain() as domain:
    print(domain, flush=True)
    input()
"""


def test_graphs_at_the_same_time_get_different_domains(monkeypatch):
    monkeypatch.delenv("ROS_DOMAIN_ID")
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        theirs = int(other.stdout.readline())
        with own_domain() as ours:
            assert ours in DOMAINS
            assert ours != theirs
            assert os.environ["ROS_DOMAIN_ID"] == str(ours)
        other.communicate(b"\n")
    assert "ROS_DOMAIN_ID" not in os.environ


def test_a_chosen_domain_is_kept(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "42")
    with own_domain() as domain:
        assert domain == 42
    assert os.environ["ROS_DOMAIN_ID"] == "42"


@pytest.mark.parametrize("attempt", range(2))
def test_a_domain_is_free_again_after_its_graph(monkeypatch, attempt):
    monkeypatch.delenv("ROS_DOMAIN_ID")
    found = set()
    for _ in range(3):
        with own_domain() as domain:
            found.add(domain)
    assert len(found) == 1
