"""What lists are ordered by, against a plain reckoning of it."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data.artifacts.corpus import Cutting
from data.artifacts.features import CONTRAST, TOP
from pipeline.publishing.interest import (
    LEAST_TELLING,
    START_TOKENS,
    effect_sizes,
    interest_of,
    start_shares,
    telling_means,
)
from pipeline.publishing.telling import TellingWords
from tests.support.fakes import make_corpus

PIECES = [b" the", b" riv", b"er", b" 1984", b" storm"]
THE, RIV, ER, YEAR, STORM = range(5)


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


def test_a_feature_tells_what_the_whole_words_of_its_peaks_tell(tmp_path: Path) -> None:
    documents = [[THE, RIV, ER, RIV, ER, RIV, ER, THE, YEAR]] + [[THE, THE, YEAR, STORM]] * 9
    telling = TellingWords(make_corpus(tmp_path, documents, 512, []), PIECES)
    table = examples((1, TOP, 0, 2), (1, TOP, 0, 7), (2, TOP, 0, 8), (0, CONTRAST, 0, 1), (3, TOP, 0, 1))
    river, the = telling.weight("river"), telling.weight("the")
    assert river > the
    assert telling_means(table, 4, telling) == pytest.approx([0, (river + the) / 2, 0, river])


def test_effects_are_the_sizes_of_all_changes_together() -> None:
    lists = pa.list_(pa.float32())
    table = pa.table(
        {
            "raised_change": pa.array([[0.1, 0.05], [], [0.6]], lists),
            "lowered_change": pa.array([[-0.05], [], []], lists),
        }
    )
    assert effect_sizes(table) == pytest.approx([0.5, 0, 0.75])


def test_interest_is_the_formula_and_unknown_without_a_score() -> None:
    columns = np.array([[0.8, 1, 0.5, 0, 1], [0.5, 0, 1, 0.25, 0], [math.nan, 1, 1, 0, 1]]).T
    expected = [0.64 * 0.5, (0.5 * LEAST_TELLING) ** 2 * 0.75 / 2, None]
    assert interest_of(*columns).to_pylist() == [pytest.approx(one) if one else None for one in expected]
