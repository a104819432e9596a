"""What one training comes to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """Measures of a trained model.

    Attributes:
        measure: name of the one that ranks, in `metrics`.
        metrics: of the test cases, by name.
        validation: the measure of the validation cases with the weights that were kept.
        evaluations: epoch or step, and the measure of the validation cases, in the order of time.
    """

    measure: str
    metrics: dict[str, float]
    validation: float
    evaluations: tuple[tuple[int, float], ...]

    @property
    def value(self) -> float:
        """The measure that ranks, of the test cases."""
        return self.metrics[self.measure]
