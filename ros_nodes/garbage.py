"""Keep Python's garbage collector from pausing a node for what lives as long as the node."""

from __future__ import annotations

import gc


def exempt_from_garbage_collection() -> None:
    """Collect once, and never look at what is left again: modules and weights would cost milliseconds each time."""
    gc.collect()
    gc.freeze()
