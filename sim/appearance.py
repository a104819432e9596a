"""The colours and shapes that instructions name.

Colours lie at least 26 degrees of hue apart, so that they stay distinct under the tinted and dimmed lights of the
`lighting` suite.
"""

from __future__ import annotations

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.82, 0.07, 0.07),
    "orange": (0.96, 0.46, 0.04),
    "yellow": (0.95, 0.88, 0.10),
    "green": (0.08, 0.60, 0.16),
    "blue": (0.08, 0.25, 0.85),
    "purple": (0.56, 0.10, 0.70),
}
"""Red, green and blue in [0, 1] by colour name."""

SHAPES: tuple[str, ...] = ("cube", "cylinder", "ball")
"""Names of the objects' shapes."""
