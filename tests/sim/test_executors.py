from __future__ import annotations

from collections.abc import Iterator

import pytest

from sim.episode import EpisodeResult
from sim.episode_worker import WorkerConfig, execution_settings
from sim.executors import run_in_processes, run_on_ray
from sim.protocol import EvaluationProtocol

PROTOCOL = EvaluationProtocol(("reach",), episodes=4, seed=11, execution=execution_settings())
CONFIG = WorkerConfig("expert", PROTOCOL)
JOBS = [(episode, False) for episode in PROTOCOL.episode_ids()]


def outcomes(results: Iterator[EpisodeResult]) -> dict[str, tuple[bool, float, int, bytes]]:
    return {
        str(result.id): (result.success, result.progress, result.steps, result.joint_targets.tobytes())
        for result in results
    }


def test_an_error_in_a_worker_reaches_the_caller_as_it_was() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list(run_in_processes(WorkerConfig("nowhere", PROTOCOL), JOBS[:1], 1))


def test_a_policy_for_another_control_rate_is_refused() -> None:
    protocol = EvaluationProtocol(("reach",), episodes=1, control_hz=20.0)
    with pytest.raises(ValueError, match=r"control_hz: the protocol has 20.0, the policy 10.0"):
        list(run_in_processes(WorkerConfig("noop", protocol), JOBS[:1], 1))


@pytest.fixture
def two_node_cluster() -> Iterator[str]:
    """Address of a Ray cluster of two nodes with one core each, both on this machine."""
    pytest.importorskip("ray", reason="ray is not installed (pip install 'polyarm[ray]')")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        cluster.add_node(**node)
        yield cluster.address
    finally:
        cluster.shutdown()


def test_a_ray_cluster_gives_the_same_results_to_the_bit(two_node_cluster: str) -> None:
    on_ray = outcomes(run_on_ray(CONFIG, JOBS, workers=2, address=two_node_cluster))
    assert on_ray == outcomes(run_in_processes(CONFIG, JOBS, workers=1))
    assert len(on_ray) == len(JOBS)
