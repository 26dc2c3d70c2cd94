"""Small pieces of work side by side, each by one thread that runs its operators alone.

An operator on a tile takes a fraction of a millisecond. Run by several threads, it waits for them to wake for nearly as
long; run by one, beside another tile by another, it does not.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier

import torch

from pipeline.neurons.passes import MOST_THREADS

Piece = Callable[[], None]


def run_side_by_side(pieces: Iterable[Piece], device_type: str) -> None:
    """Do all pieces, none of which may write what another one reads; on a GPU one after the other."""
    num_threads = min(torch.get_num_threads(), MOST_THREADS) if device_type == "cpu" else 1
    if num_threads == 1:
        for piece in pieces:
            piece()
    else:
        list(_pool(num_threads).map(_do, pieces))


@cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    """Threads each of which runs operators alone; what all others do stays as it was."""
    of_others, all_here = torch.get_num_threads(), Barrier(num_threads)
    pool = ThreadPoolExecutor(num_threads, "neurons", initializer=_run_alone)
    list(pool.map(lambda _: all_here.wait(), range(num_threads)))
    torch.set_num_threads(of_others)
    return pool


def _run_alone() -> None:
    """Have this thread run operators alone."""
    torch.get_num_threads()  # a thread takes over the number of all others when it is first asked for it
    torch.set_num_threads(1)


def _do(piece: Piece) -> None:
    piece()
