"""Tokens with an index, against a search of all of them."""

from pathlib import Path

import numpy as np
import pytest

from data.concepts.indexing import TokenIndex, write_token_index
from data.concepts.matching import Matcher
from tests.data.concepts.test_matching import CONCEPTS, PIECES, spelled, ways_to_write

OUTSIDE = len(PIECES)


@pytest.fixture
def blocks() -> list[np.ndarray]:
    """Texts of random tokens, `outside` behind each, a few in a block."""
    rng = np.random.default_rng(4)
    texts = [[*rng.integers(1, OUTSIDE, int(length)).tolist(), OUTSIDE] for length in rng.integers(1, 90, 300)]
    return [np.array([token for text in texts[start : start + 7] for token in text]) for start in range(0, 300, 7)]


@pytest.fixture
def index(blocks: list[np.ndarray], tmp_path: Path) -> TokenIndex:
    write_token_index(tmp_path / "index", lambda: iter(blocks), OUTSIDE)
    return TokenIndex.load(tmp_path / "index")


def test_every_token_stands_where_it_is_said_to(blocks: list[np.ndarray], index: TokenIndex) -> None:
    token_N = np.concatenate(blocks)
    assert np.array_equal(index.token_N, token_N)
    assert (index.outside, index.num_tokens) == (OUTSIDE, np.count_nonzero(token_N != OUTSIDE))
    for tokens in ([3], [5, 1], [0], list(range(OUTSIDE))):
        assert index.places(tokens).tolist() == np.flatnonzero(np.isin(token_N, tokens)).tolist()
    assert index.places([]).tolist() == []


def test_it_takes_the_smallest_types_that_hold_it(index: TokenIndex) -> None:
    assert (index.token_N.dtype, index.place_P.dtype) == (np.uint8, np.uint16)


@pytest.mark.parametrize("at_once", [1, 50, 1 << 20])
def test_concepts_are_found_where_a_search_of_all_finds_them(
    blocks: list[np.ndarray], index: TokenIndex, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.concepts.matching.STOPS_AT_ONCE", at_once)
    written = [[way for text in ways_to_write(name) for way in spelled(text)] for name in CONCEPTS]
    matcher = Matcher(written, PIECES)
    found, again = matcher.find(np.concatenate(blocks)), matcher.find_in(index)
    assert set(found.concept_H.tolist()) == set(range(len(CONCEPTS)))
    for column, other in zip(found, again, strict=True):
        assert np.array_equal(column, other)


def test_nothing_is_found_of_nothing(index: TokenIndex) -> None:
    assert len(Matcher([[]], PIECES).find_in(index).concept_H) == 0
