"""Garbage is collected seldom in a command, and not at its end."""

import subprocess
import sys

PROGRAM = """
import atexit, gc
from pipeline.garbage import COLLECT_AFTER, collect_seldom

class Noisy:
    def __del__(self):
        print("collected")

atexit.register(lambda: print(gc.get_freeze_count() > 1_000))
collect_seldom()
collect_seldom()
assert gc.get_threshold()[0] == COLLECT_AFTER
noisy = Noisy()
noisy.itself = noisy
del noisy
"""


def test_what_lives_at_the_end_is_left_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")
