"""A command looks for garbage seldom, and keeps what is freed; each in a process of its own."""

import ctypes
import os
import subprocess
import sys

import pytest

from pipeline.memory import OWN_LIMITS

GARBAGE = """
import atexit, gc
from pipeline.memory import COLLECT_AFTER, collect_seldom

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
FREED = """
import ctypes
from pipeline.memory import give_back, keep_freed

NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in NAMES]

library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes, library.mallinfo2.restype = ctypes.c_void_p, [ctypes.c_void_p], Info

def mapped_anew():
    before = library.mallinfo2().hblkhd
    place = library.malloc(64 << 20)
    mapped = library.mallinfo2().hblkhd - before
    library.free(place)
    return mapped >> 20

by_itself = mapped_anew()
keep_freed()
kept = mapped_anew(), library.mallinfo2().fordblks >> 20
give_back()
print(by_itself, *kept, library.mallinfo2().fordblks >> 20, mapped_anew())
"""
has_limits = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library is no glibc of 2021")


def printed(program: str, **more: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in OWN_LIMITS} | more
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == ""
    return done.stdout


def test_what_lives_at_the_end_is_left_to_the_system() -> None:
    assert printed(GARBAGE) == "True\n"


@has_limits
def test_freed_memory_is_kept_until_it_is_given_back() -> None:
    """64 MiB are mapped anew but while what is freed is kept, and are not kept in the end."""
    by_itself, while_kept, kept, kept_after, after = map(int, printed(FREED).split())
    assert by_itself == after == 64
    assert while_kept == 0
    assert kept >= 64 > kept_after


@has_limits
def test_limits_of_the_environment_stay() -> None:
    _, while_kept, _, _, after = map(int, printed(FREED, MALLOC_MMAP_THRESHOLD_="1000000").split())
    assert while_kept == after == 64
