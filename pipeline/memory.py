"""Memory of a command: garbage is looked for seldom, and what is freed is kept for what is allocated next."""

import atexit
import ctypes
import gc
import os

COLLECT_AFTER = 20_000
"""New objects after which Python looks for garbage; by itself after 700, a seventh of the time that imports take."""
LARGEST_KEPT, MOST_KEPT = 1 << 30, (1 << 31) - 1
"""Bytes of one array, and in all, that are kept when they are freed."""
LARGEST_BY_ITSELF, MOST_BY_ITSELF = 32 << 20, 64 << 20
"""What glibc comes to keep by itself at most."""
AS_PYTHON_DOES = gc.get_threshold()
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Names of these limits in glibc's `mallopt`."""
OWN_LIMITS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
"""Variables by which a person sets them."""


def collect_seldom() -> None:
    """Look for garbage less often, and not once more at the end, which takes seconds: the system takes all back."""
    gc.set_threshold(COLLECT_AFTER)
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)


def collect_as_usual() -> None:
    """Look for garbage as often as Python does by itself, in what lives on."""
    gc.set_threshold(*AS_PYTHON_DOES)


def keep_freed() -> None:
    """Keep freed memory for what is allocated next.

    By itself glibc has the system map each large array anew, and clear it page by page, which costs `examples` most.
    Older ones keep arrays up to 32 MiB at most. With another C library, and where the environment sets its limits,
    nothing changes.
    """
    if not _limit(LARGEST_KEPT, MOST_KEPT):
        _limit(LARGEST_BY_ITSELF, MOST_KEPT)


def give_back() -> None:
    """Give freed memory back to the system, and keep from now on what glibc keeps by itself."""
    if _limit(LARGEST_BY_ITSELF, MOST_BY_ITSELF):
        ctypes.CDLL(None).malloc_trim(0)


def _limit(largest: int, most: int) -> bool:
    """Set the limits; whether they could be."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt") or any(name in os.environ for name in OWN_LIMITS):
        return False
    return bool(library.mallopt(MMAP_THRESHOLD, largest) and library.mallopt(TRIM_THRESHOLD, most))
