"""Can an encoder of clips tell what an arm did when? Episodes of four narrated steps in any order.

The episodes are those of `python -m sim.narrated_episodes`. Sentences of held-out ones are put at their places in clips
that run forwards, and in the same ones backwards.
"""

from __future__ import annotations

import numpy as np

from representation.benchmarks.claims import BenchOptions, Claim
from representation.benchmarks.tvts import BACKWARDS, LENGTH, OTHER, Settings, last_rows, sorting, train
from representation.data.batches import split_frames
from representation.data.frames import Frames, open_frames
from representation.pretraining.tvts import Config, new

NAME, SIZE, HELD_OUT = "narrated", 32, 20  # directory beside that of the renders; pixels; episodes
SETTINGS = Settings(steps=3000, batch=32)
ASKED, BACKWARDS_AT_MOST = 0.6, 0.35  # shares of sentences that are put at their places


def run(options: BenchOptions) -> list[Claim]:
    """How well sentences are sorted, in clips that run forwards and backwards, and in those of other episodes.

    Raises:
        FileNotFoundError: there are no such episodes; says how to make them.
    """
    place = options.data.with_name(NAME)
    if not place.is_dir():
        raise FileNotFoundError(
            f"{place}: expected narrated episodes, found none; python -m sim.narrated_episodes --output {place}"
        )
    frames = open_frames(place, size=SIZE)
    found = [scores(seed, frames, options.steps(SETTINGS.steps)) for seed in range(options.seeds)]
    ours, other, backwards = (
        tuple(one[name] for one in found) for name in ("sorting", f"sorting: {OTHER}", f"sorting: {BACKWARDS}")
    )
    task = "what an arm does, put at its place"
    turned = f"{task}, clips that run {BACKWARDS}, negated"
    return [
        Claim(f"{task}, chance 0.25", "asked", ours, (ASKED,) * options.seeds),
        Claim(turned, "asked", tuple(-one for one in backwards), (-BACKWARDS_AT_MOST,) * options.seeds),
        Claim(f"{task}, chance 0.25", OTHER, ours, other, least=0.35),
        Claim(task, BACKWARDS, ours, backwards, least=0.25),
    ]


def scores(seed: int, frames: Frames, steps: int) -> dict[str, float]:
    """See `tvts.sorting`, of held-out episodes after so many steps of pretraining on the others."""
    training, test = split_frames(frames, HELD_OUT, np.random.default_rng(seed))
    objective = new(Config(frames=LENGTH), frames, seed)
    train(objective, frames, training, Settings(steps=steps, batch=SETTINGS.batch), seed)
    return sorting(objective.encoder.eval(), frames, last_rows(frames, test))
