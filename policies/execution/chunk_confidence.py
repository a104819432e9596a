"""How sure a policy is of a chunk, in a few figures that a graph can watch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.interface import TOKEN_KINDS, ActionChunk


def confidence_figures(chunk: ActionChunk) -> dict[str, float]:
    """The lowest and the mean probability over the rows of a chunk.

    Returns:
        `confidence_min` and `confidence_mean` of whole rows, where the chunk has a confidence, and for each of
        `TOKEN_KINDS` the same of its tokens, as `translation_confidence_min`, where it has their probabilities. Empty
        where it has neither.
    """
    found: dict[str, NDArray[np.float64]] = {}
    if chunk.confidence is not None:
        found["confidence"] = chunk.confidence
    if chunk.token_log_probs is not None:
        by_kind = np.exp(chunk.token_log_probs).T
        found |= {f"{kind}_confidence": values for kind, values in zip(TOKEN_KINDS, by_kind, strict=True)}
    return {
        f"{name}_{measure}": float(value)
        for name, values in found.items()
        for measure, value in (("min", np.min(values)), ("mean", np.mean(values)))
    }
