"""Drawn signals whose factors are known: heart beats, waves, and two robots that do the same four skills.

`python -m representation.generative.dts.signals --output FILE` writes heart beats in the form that
`representation.generative.dts.train` reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

Signals = tuple[NDArray[np.float32], NDArray[np.float64]]

WAVE_FACTORS = ("amplitude", "frequency", "offset", "slope")
BEAT_FACTORS = ("p_height", "qrs_height", "qrs_width", "t_height", "t_time", "rate")
BEAT_NOISE, WAVE_NOISE = 0.02, 0.05
SKILLS = ("reach", "wave", "press", "hold")


@dataclass(frozen=True)
class DrawnRobot:
    """How a robot's sensors show what it does.

    Attributes:
        gains: of the three signals.
        lag: steps after which two thirds of a change are seen.
        noise: standard deviation of what is added.
    """

    gains: tuple[float, float, float]
    lag: float
    noise: float


ROBOTS = (DrawnRobot((1.0, 1.0, 1.0), 0.5, 0.05), DrawnRobot((0.6, 1.4, 0.5), 3.0, 0.15))


def waves(count: int, length: int, seed: int) -> Signals:
    """Series (N, T, 1) a sin(2 pi f t) + b + c (t - 1/2) + noise with t from 0 to 1.

    Returns:
        Series, and their `WAVE_FACTORS` (N, 4): a in [0.5, 1.5], f in [1, 4], b in [-0.5, 0.5], c in [-1, 1], drawn
        evenly.
    """
    rng = np.random.default_rng(seed)
    factors = rng.uniform((0.5, 1.0, -0.5, -1.0), (1.5, 4.0, 0.5, 1.0), (count, 4))
    a, f, b, c = factors.T[:, :, None]
    t = np.linspace(0, 1, length)
    x = a * np.sin(2 * np.pi * f * t) + b + c * (t - 0.5) + WAVE_NOISE * rng.normal(size=(count, length))
    return x[:, :, None].astype(np.float32), factors


def heart_beats(count: int, length: int, seed: int) -> Signals:
    """Series (N, T, 1) like one heart beat of an electrocardiogram.

    Bumps P, Q, R, S and T stand around a beat (McSharry et al., 2003, without its dynamics); time runs faster at a
    higher rate.

    Returns:
        Series, and their `BEAT_FACTORS` (N, 6), drawn evenly: heights in mV, times and widths in shares of a beat.
    """
    rng = np.random.default_rng(seed)
    low, high = (0.05, 0.7, 0.015, 0.1, 0.2, 0.8), (0.3, 1.3, 0.03, 0.5, 0.32, 1.25)
    factors = rng.uniform(low, high, (count, len(low)))
    p, qrs, width, t_height, t_time, rate = factors.T[:, :, None]
    time = np.linspace(-0.4, 0.5, length) * rate

    def bump(height: NDArray, centre: NDArray | float, size: NDArray | float) -> NDArray:
        return height * np.exp(-(((time - centre) / size) ** 2) / 2)

    x = bump(p, -0.2, 0.03) + bump(qrs, 0.0, width) + bump(t_height, t_time, 0.05)
    x = x - bump(0.12 * qrs, -2 * width, 0.7 * width) - bump(0.25 * qrs, 2 * width, 0.8 * width)
    x = x + BEAT_NOISE * rng.normal(size=x.shape)
    return x[:, :, None].astype(np.float32), factors


def robot_windows(
    count: int, length: int, robot: DrawnRobot, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Windows (N, T, 3) of position, speed and force of a robot that does a skill, and `SKILLS` (N,) by number.

    A reach is a smooth step, a wave goes to and fro, a press is a step that ends in a force, and a hold stays against a
    force; sizes, times and signs are drawn. What its sensors show is scaled, lags and has noise.
    """
    rng = np.random.default_rng(seed)
    skills = rng.integers(0, len(SKILLS), count)
    t = np.linspace(0, 1, length)
    size, onset, pace = rng.uniform((0.5, 0.2, 0.5), (1.0, 0.5, 1.0), (count, 3)).T[:, :, None]
    sign = rng.choice((-1.0, 1.0), (count, 1))
    move = sign * size / (1 + np.exp(-(t - onset) * 20 * pace))
    wave = sign * size * np.sin(2 * np.pi * (1 + 2 * pace) * (t - onset)) / 2
    contact = size / (1 + np.exp(-(t - onset - 0.15) * 60))
    is_reach, is_wave, is_press, is_hold = (skills[:, None] == place for place in range(len(SKILLS)))
    position = is_reach * move + is_wave * wave + is_press * move * 0.8
    force = is_press * contact + is_hold * size * 0.6
    signals = np.stack([position, np.gradient(position, axis=1) * length / 6, force], axis=2)
    seen, state = np.empty_like(signals), signals[:, 0]
    follow = 1 - np.exp(-1 / robot.lag)
    for step in range(length):
        state = state + follow * (signals[:, step] - state)
        seen[:, step] = state
    seen = seen * robot.gains + robot.noise * rng.normal(size=seen.shape)
    return seen.astype(np.float32), skills


@dataclass(frozen=True)
class BeatOptions:
    """What is drawn.

    Attributes:
        output: npz file to write.
        count: beats.
        length: steps of each.
        seed: of everything.
    """

    output: Path
    count: int = 2000
    length: int = 60
    seed: int = 0


def main() -> None:
    """Draw heart beats into a file: `windows`, and a column of each factor."""
    options = tyro.cli(BeatOptions, description=__doc__)
    x, factors = heart_beats(options.count, options.length, options.seed)
    columns = dict(zip(BEAT_FACTORS, factors.T, strict=True))
    np.savez_compressed(options.output, windows=x, **columns)
    print(f"{options.output}: {len(x)} beats of {options.length} steps; factors {', '.join(BEAT_FACTORS)}")


if __name__ == "__main__":
    main()
