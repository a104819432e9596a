"""Where the episodes of an evaluation run: in processes of this machine, or on a Ray cluster.

Each worker builds one `EpisodeWorker` (policy and simulation) and runs episode after episode. Results come back in any
order and are the same, bit for bit, whatever the executor and the number of workers. Every worker computes in one
thread: how a sum is split over threads shows in its last bits.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from sim.episode import EpisodeResult
from sim.episode_id import EpisodeId

if TYPE_CHECKING:
    from sim.episode_worker import EpisodeWorker, WorkerConfig

Job = tuple[EpisodeId, bool]
"""An episode, and whether to film it."""

# NumPy's and torch's libraries read these when a worker loads them.
THREAD_LIMITS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def run_in_processes(config: WorkerConfig, jobs: Sequence[Job], workers: int) -> Iterator[EpisodeResult]:
    """Run episodes in spawned processes of this machine.

    Args:
        config: what each worker builds.
        jobs: the episodes.
        workers: number of processes.

    Yields:
        Results as they come.

    Raises:
        concurrent.futures.process.BrokenProcessPool: a worker died.
    """
    context = multiprocessing.get_context("spawn")
    with (
        _environment(THREAD_LIMITS),
        ProcessPoolExecutor(min(workers, len(jobs)), context, _start_worker, (config,)) as pool,
    ):
        futures = [pool.submit(_run_job, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            # After a failure the episodes that have not begun must not keep the pool open.
            pool.shutdown(wait=True, cancel_futures=True)


def run_on_ray(
    config: WorkerConfig, jobs: Sequence[Job], workers: int, address: str | None = None
) -> Iterator[EpisodeResult]:
    """Run episodes on a Ray cluster whose nodes have this package installed.

    Args:
        config: what each worker builds; a policy given as a path must lie there on every node.
        jobs: the episodes.
        workers: number of actors, one core each.
        address: `host:port` of the cluster's head, or None to start Ray on this machine alone.

    Yields:
        Results as they come.

    Raises:
        ModuleNotFoundError: Ray is not installed; says how to.
        ray.exceptions.RayError: an episode failed or a node was lost.
    """
    try:
        import ray
        from ray.util import ActorPool
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("ray is not installed; pip install 'polyarm[ray]'") from error
    workers = min(workers, len(jobs))
    # A cluster of one's own: as many cores as workers, no dashboard, no usage reports.
    own = {"num_cpus": workers, "include_dashboard": False} if address is None else {"address": address}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(**own, runtime_env={"env_vars": THREAD_LIMITS}, log_to_driver=False)
    try:
        actor = ray.remote(num_cpus=1)(_RayWorker)
        pool = ActorPool([actor.remote(config) for _ in range(workers)])
        yield from pool.map_unordered(lambda worker, job: worker.run.remote(job), list(jobs))
    finally:
        ray.shutdown()


class _RayWorker:
    def __init__(self, config: WorkerConfig) -> None:
        self._worker = _build(config)

    def run(self, job: Job) -> EpisodeResult:
        return self._worker.run(*job)


_config: WorkerConfig | None = None
_worker: EpisodeWorker | None = None


def _start_worker(config: WorkerConfig) -> None:
    global _config
    _config = config


def _run_job(job: Job) -> EpisodeResult:
    # Built here and not in the pool's initialiser, whose errors never reach the parent process.
    global _worker
    if _worker is None:
        if _config is None:
            raise RuntimeError("worker: expected to be started before its first episode")
        _worker = _build(_config)
    return _worker.run(*job)


def _build(config: WorkerConfig) -> EpisodeWorker:
    from sim.episode_worker import EpisodeWorker

    return EpisodeWorker(config)


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[Any]:
    """Set variables for child processes, and put back what was there."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
