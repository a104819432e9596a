"""Made-up results, for tests of what is done with results."""

from __future__ import annotations

import numpy as np

from sim.episode import EpisodeResult
from sim.episode_id import EpisodeId
from sim.protocol import EvaluationProtocol
from sim.summary import PolicyDescription, RunDescription
from sim.videos import encode_mp4

PROTOCOL = EvaluationProtocol(("reach", "pick"), ("nominal", "lighting"), episodes=4, seed=3)


def describe(protocol: EvaluationProtocol = PROTOCOL, policy: str = "made_up") -> RunDescription:
    return RunDescription(
        policy=PolicyDescription(policy, "ab" * 32),
        protocol=protocol,
        command=f"python -m sim.evaluate --policy {policy}",
        versions={"python": "3"},
        machine={"cpu": "abacus", "cores": 2, "accelerator": None},
    )


def result(episode: EpisodeId, success: bool, video: bytes | None = None, instruction: str = "do it") -> EpisodeResult:
    rng = np.random.default_rng(episode.seed_sequence())
    return EpisodeResult(
        id=episode,
        success=success,
        progress=1.0 if success else 0.25,
        steps=20 if success else 60,
        instruction=instruction,
        wall_s=1.5,
        inference_s=rng.uniform(0.01, 0.03, 5),
        joint_targets=rng.normal(size=(5, 8)),
        jerk=4.0 if success else 8.0,
        video=video,
    )


def results(protocol: EvaluationProtocol = PROTOCOL, videos: bool = False) -> list[EpisodeResult]:
    """Reach always succeeds, pick in its first episode only; with `videos`, the first two of each condition."""
    clip = encode_mp4([np.full((48, 64, 3), 40 * k, np.uint8) for k in range(5)], 10.0) if videos else None
    return [
        result(episode, episode.task == "reach" or episode.index == 0, clip if episode.index < 2 else None)
        for episode in protocol.episode_ids()
    ]
