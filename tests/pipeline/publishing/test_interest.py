"""What lists are ordered by, against a plain reckoning of it."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data.artifacts.corpus import Cutting
from data.artifacts.features import CONTRAST, TOP
from pipeline.publishing.interest import START_TOKENS, interest_of, start_shares, telling_shares, telling_tokens
from tests.support.fakes import make_corpus

PIECES = [b"the", b" river", b" River", b" a", b"1984", b"with", b" storm"]
OFTEN, SELDOM = 5, 6


def examples(*rows: tuple[int, int, int, int]) -> pa.Table:
    """A table of examples: index, kind, document and position of each."""
    names = ("index", "kind", "document", "position")
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def test_start_shares_count_top_examples_at_the_start_of_a_sequence() -> None:
    table = examples(
        (0, TOP, 0, 0), (0, TOP, 0, START_TOKENS - 1), (0, TOP, 0, START_TOKENS), (0, TOP, 0, 100),
        (2, TOP, 0, 99), (2, CONTRAST, 0, 0), (3, TOP, 0, 201),
    )  # fmt: skip
    assert start_shares(table, 5, Cutting(100, bos_id=0)).tolist() == [0.75, 0, 0, 1, 0]


def test_words_tell_something_that_are_long_and_not_of_the_most_frequent(tmp_path: Path) -> None:
    often = [OFTEN] * 5_000
    corpus = make_corpus(tmp_path, [[0, 1, 2, 3, 4, SELDOM], often], 512, [])
    telling_V = telling_tokens(PIECES, corpus)
    assert telling_V.tolist() == [False, True, True, False, False, False, True]
    table = examples((1, TOP, 0, 1), (1, TOP, 0, 0), (1, TOP, 1, 7), (1, TOP, 0, 5), (0, CONTRAST, 0, 1))
    assert telling_shares(table, 3, corpus, telling_V).tolist() == [0, 0.5, 0]


def test_interest_is_the_formula_and_unknown_without_a_score() -> None:
    columns = np.array([[0.8, 8, 1, 0], [0.8, 8, 0.5, 0.25], [math.nan, 8, 1, 0]]).T
    assert interest_of(*columns).to_pylist() == [pytest.approx(6.4), pytest.approx(2.4), None]
