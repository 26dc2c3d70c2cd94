"""Texts that no candidate was made from: away from every example, and no copy of one."""

from pathlib import Path

import numpy as np

from data.artifacts.contexts import CONTEXT_SIDE
from pipeline.scores.sampling import windows_around
from pipeline.scores.unseen import NEAR, unseen_windows
from tests.support.fakes import make_corpus

CONTEXT = 4
LENGTH = 120


def test_windows_near_an_example_and_copies_of_it_are_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(50, size=(2, LENGTH)).tolist()
    example = 60
    copied = 90
    around = slice(example - CONTEXT_SIDE, example + CONTEXT_SIDE + 1)
    second[copied - CONTEXT_SIDE : copied + CONTEXT_SIDE + 1] = first[around]
    corpus = make_corpus(tmp_path, [first, second], LENGTH + 1)
    token_P = np.array([(sequence << 32) | at for sequence in (0, 1) for at in range(LENGTH)])
    windows = windows_around(token_P, corpus, CONTEXT)
    unseen_P = unseen_windows(windows, np.array([0]), np.array([example]), corpus)
    naive = [abs(at - example) > CONTEXT + NEAR for at in range(LENGTH)] + [at != copied for at in range(LENGTH)]
    assert unseen_P.tolist() == naive
