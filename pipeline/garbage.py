"""Garbage collection in a command: libraries make half a million objects, and all of them live to its end."""

import atexit
import gc

COLLECT_AFTER = 20_000
"""New objects after which Python looks for garbage; by itself after 700, a seventh of the time that imports take."""


def collect_seldom() -> None:
    """Look for garbage less often, and not once more at the end, which takes seconds: the system takes all back."""
    gc.set_threshold(COLLECT_AFTER)
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
