"""What does it cost to ask a policy over the network? The same observations, answered here and by a server process.

In turns, so that other work on the machine meets all alike: the policy in this process, and one in a server process on
this machine for each way that colour may travel. The loopback is no network: what is measured is packing, copying and
unpacking; what a network adds follows from the size of a request, which is told beside.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from policies.interface import ActionChunk, CameraView, Observation, Policy, load_policy
from policies.machine import describe_machine, library_versions
from policies.remote.address import COMPRESSIONS
from policies.remote.client import connect_policy
from policies.remote.frames import encode
from policies.remote.messages import request_frame
from policies.robots import get_robot

HERE = "in process"
METHODS = (HERE, *COMPRESSIONS)
INSTRUCTION = "pick up the red cube"  # where a policy understands any
NOISE_LEVELS = 2.0  # standard deviation of a sensor's noise, of 255


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """What is asked.

    Attributes:
        policy: name of a shipped policy, or a directory.
        height: of the pictures, pixels.
        width: of the pictures, pixels.
        repetitions: observations of each seed, each answered by every method.
        seeds: pictures are drawn anew for each.
        threads: of torch, here and in the server.
    """

    policy: str = "spatialvla_small"
    height: int = 480
    width: int = 640
    repetitions: int = 20
    seeds: int = 3
    threads: int = 1


def run(settings: RemoteSettings) -> dict[str, Any]:
    """Ask in all ways.

    Raises:
        RuntimeError: the server does not start.
    """
    torch.set_num_threads(settings.threads)
    here = load_policy(settings.policy)
    results = []
    with _server(settings) as url:
        for seed in tqdm(range(settings.seeds), "remote", unit="seed"):
            results.append(_measure(here, url, settings, seed))
    return {
        "settings": asdict(settings),
        "control_hz": here.control_hz,
        "cameras": len(here.cameras),
        "machine": describe_machine(),
        "versions": library_versions(),
        "results": results,
    }


@contextmanager
def _server(settings: RemoteSettings) -> Iterator[str]:
    sessions = len(METHODS) - 1
    command = [sys.executable, "-m", "policies.server", "--policy", settings.policy, "--port", "0"]
    command += ["--sessions", str(sessions)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(settings.threads)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as server:
        assert server.stdout is not None
        try:
            told = server.stdout.readline()
            if " on ws://" not in told:
                raise RuntimeError(f"{' '.join(command)}: expected it to serve, found {told!r}")
            yield told.split()[-1]
        finally:
            server.terminate()


def _measure(here: Policy, url: str, settings: RemoteSettings, seed: int) -> dict[str, dict[str, Any]]:
    served = {kind: connect_policy(f"{url}?images={kind}&limit_s=60") for kind in COMPRESSIONS}
    policies: dict[str, Policy] = {HERE: here, **served}
    observations = list(_observations(here, settings, seed))
    milliseconds: dict[str, list[float]] = {method: [] for method in METHODS}
    answers: dict[str, list[ActionChunk]] = {method: [] for method in METHODS}
    for policy in policies.values():
        policy.reset(seed)
        policy.act(observations[0])
        policy.reset(seed)
    for observation in observations:
        for method, policy in policies.items():
            began = time.perf_counter()
            answers[method].append(policy.act(observation))
            milliseconds[method].append(1e3 * (time.perf_counter() - began))
    for one in served.values():
        one.close()
    sizes: dict[str, int] = {kind: len(encode(request_frame(1, observations[:1], kind))) for kind in COMPRESSIONS}
    return {
        method: {
            "ms_p50": float(np.percentile(milliseconds[method], 50)),
            "ms_p95": float(np.percentile(milliseconds[method], 95)),
            "request_bytes": sizes.get(method, 0),
            "largest_difference": max(
                float(np.abs(own.rows - other.rows).max())
                for own, other in zip(answers[method], answers[HERE], strict=True)
            ),
        }
        for method in METHODS
    }


def _observations(policy: Policy, settings: RemoteSettings, seed: int) -> Iterator[Observation]:
    generator = np.random.default_rng(seed)
    home = get_robot(policy.robot).home
    size = (settings.height, settings.width)
    intrinsics = np.array([[size[1], 0, size[1] / 2], [0, size[1], size[0] / 2], [0, 0, 1.0]])
    rows, columns = np.mgrid[: size[0], : size[1]]
    plain = np.stack([rows % 256, columns % 256, (rows + columns) // 4 % 256], axis=-1)
    for step in range(settings.repetitions):
        views = {}
        for camera in policy.cameras:
            rgb = (plain + generator.normal(scale=NOISE_LEVELS, size=plain.shape)).clip(0, 255).astype(np.uint8)
            depth = (0.6 + 0.0005 * rows + generator.normal(scale=0.002, size=size)).astype(np.float32)
            views[camera] = CameraView(rgb, depth, intrinsics, np.eye(4))
        instruction = next(iter(getattr(policy, "instructions", ())), INSTRUCTION)
        yield Observation(step / policy.control_hz, views, home, np.zeros_like(home), instruction)


def format_text(result: Mapping[str, Any]) -> str:
    """Lay a result out for people."""
    settings, machine, hz = result["settings"], result["machine"], result["control_hz"]
    lines = [
        f"{settings['policy']}, {result['cameras']} RGB-D camera(s) of {settings['width']} x {settings['height']}, "
        f"{settings['repetitions']} observations, in turns, {settings['threads']} thread(s)",
        f"{'colour':<12}{'seed':>5}{'p50 ms':>9}{'p95 ms':>9}{'more ms':>9}{'MB':>7}"
        f"{f'Mbit/s at {hz:g} Hz':>18}{'actions':>10}",
    ]
    for seed, found in enumerate(result["results"]):
        for method, row in found.items():
            more = row["ms_p50"] - found[HERE]["ms_p50"]
            size = row["request_bytes"]
            lines.append(
                f"{method:<12}{seed:>5}{row['ms_p50']:>9.2f}{row['ms_p95']:>9.2f}{more:>9.2f}{size / 1e6:>7.2f}"
                f"{8e-6 * size * hz:>18.0f}{'equal' if row['largest_difference'] == 0 else 'differ':>10}"
            )
    lines.append(f"{machine['cpu']}, {machine['cores']} cores, {machine['accelerator'] or 'no GPU'}")
    return "\n".join(lines)


def format_markdown(result: Mapping[str, Any]) -> str:
    """Lay a result out as a page."""
    what = "The time of an answer of a policy in the same process, and of a server process on the same machine."
    again = "Run it again with `python -m policies.bench remote --write`."
    return f"# Remote answers\n\n{what}\n\n```\n{format_text(result)}\n```\n\n{again}\n"
