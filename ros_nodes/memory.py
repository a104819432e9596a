"""Keep memory management from pausing a node: buffers of images, and what lives as long as the node."""

from __future__ import annotations

import ctypes
import gc

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
LARGEST_BUFFER = 1 << 26  # bytes; more than any message
KEPT = 1 << 28  # bytes


def keep_large_buffers() -> None:
    """Let freed buffers of images be used again instead of going back to the system, page by page, for each image.

    Elsewhere than on glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, LARGEST_BUFFER)
        mallopt(_TRIM_THRESHOLD, KEPT)


def exempt_from_garbage_collection() -> None:
    """Collect once, and never look at what is left again: modules and weights would cost milliseconds each time."""
    gc.collect()
    gc.freeze()
