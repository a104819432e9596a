"""A policy behind a server moves the simulated arm exactly as the same policy in this process does."""

from __future__ import annotations

from policies.interface import load_policy
from policies.remote.serving import PolicyServer
from policies.remote.session import PolicyPool
from sim.episode_id import EpisodeId
from sim.episode_worker import EpisodeWorker, WorkerConfig
from sim.protocol import EvaluationProtocol

PROTOCOL = EvaluationProtocol(("reach",), query_steps=4, width=64, height=64)
EPISODES = [EpisodeId("reach", "nominal", 1, index, 5) for index in range(2)]


def test_an_episode_is_the_same_action_for_action():
    local = EpisodeWorker(WorkerConfig("random", PROTOCOL))
    with PolicyServer(PolicyPool([load_policy("random")], "random", None)) as server:
        remote = EpisodeWorker(WorkerConfig(f"{server.url}?images=png", PROTOCOL))
        for episode in EPISODES:
            here, there = local.run(episode), remote.run(episode)
            assert len(here.joint_targets) > 0
            assert there.joint_targets.tobytes() == here.joint_targets.tobytes()
            assert (there.steps, there.progress) == (here.steps, here.progress)
