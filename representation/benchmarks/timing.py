"""Times that grow with a size: measured, fitted, as a table and as a plot."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch


def least_seconds(function: Callable[[], object], repeats: int = 15, limit_s: float = 5.0) -> float:
    """Seconds that one thread computes in the fastest of some calls, after two that warm up.

    Time that the machine gives to others is not counted.

    Args:
        function: is called.
        repeats: calls.
        limit_s: no further call begins after so many seconds.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(2):
            function()
        found: list[float] = []
        while len(found) < repeats and sum(found) <= limit_s:
            start = time.thread_time()
            function()
            found.append(time.thread_time() - start)
        return min(found)
    finally:
        torch.set_num_threads(threads)


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The power of the size that time or memory grows with: the slope of a line through logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


@dataclass(frozen=True)
class Growth:
    """Seconds by size, of several ways to do the same.

    Attributes:
        title: what is done.
        command: that measures it.
        size_name: what grows.
        sizes: how large it was.
        seconds: of each way, by size; fewer where a way was not tried at the largest sizes.
        fitted_from: smallest size that exponents are fitted to.
        each: what there is `size` of, where the table also tells the time of one; empty where it does not.
    """

    title: str
    command: str
    size_name: str
    sizes: Sequence[int]
    seconds: Mapping[str, Sequence[float]]
    fitted_from: int
    each: str = ""

    def exponents(self) -> dict[str, float]:
        """Fitted exponent of each way."""
        first = list(self.sizes).index(self.fitted_from)
        return {name: exponent(self.sizes[first : len(s)], s[first:]) for name, s in self.seconds.items()}

    def table(self, picture: str) -> str:
        """A page with the plot, and milliseconds by size."""
        powers = self.exponents()
        columns = {name: [_told(1e3 * s) for s in seconds] for name, seconds in self.seconds.items()}
        fitted = {name: f"{powers[name]:.2f}" for name in columns}
        if self.each:
            for name, seconds in self.seconds.items():
                pairs = zip(seconds, self.sizes, strict=False)
                columns[f"{name}, µs a {self.each}"] = [_told(1e6 * s / size) for s, size in pairs]
        rows = [
            f"| {size} | {' | '.join(c[k] if k < len(c) else '' for c in columns.values())} |"
            for k, size in enumerate(self.sizes)
        ]
        return "\n".join(
            [
                f"# {self.title}",
                "",
                f"Milliseconds of one thread, the fastest of several calls, warmed up: `{self.command}`.",
                f"The last row is the exponent fitted from {self.size_name} = {self.fitted_from} on.",
                "",
                f"![milliseconds by {self.size_name}]({picture})",
                "",
                f"| {self.size_name} | {' | '.join(columns)} |",
                "|---" * (len(columns) + 1) + "|",
                *rows,
                f"| exponent | {' | '.join(fitted.get(name, '') for name in columns)} |",
                "",
            ]
        )

    def draw(self, path: Path) -> None:
        """Plot it with logarithmic axes."""
        powers = self.exponents()
        figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
        for name, seconds in self.seconds.items():
            label = f"{name}: exponent {powers[name]:.2f}"
            axes.loglog(self.sizes[: len(seconds)], 1e3 * np.array(seconds), marker="o", label=label)
        axes.set(xlabel=self.size_name, ylabel="milliseconds", title=self.title)
        axes.grid(visible=True, which="both", alpha=0.3)
        axes.legend()
        figure.savefig(path, dpi=100)
        plt.close(figure)


def _told(value: float) -> str:
    """Three digits, or more where the number has them before its point."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
