"""Concepts in tokens, against a naive search of the text by regular expressions."""

import re

import numpy as np
import pytest

from data.concepts.lists import Concept
from data.concepts.matching import Matcher, plurals, ways_to_write

PIECES = [
    b"", b" Cam", b"den", b"Cam", b" dog", b"dog", b"s", b" Dog", b" Guinea", b" Equatorial", b" hot", b".", b" a",
    b"\n",    b" C", b"C", b"++", b"x", b"-", b"3", b" cherry", b" cherr", b"ies", b"Guinea",
]  # fmt: skip
CONCEPTS = ["Camden", "dog", "hot dog", "Guinea", "Equatorial Guinea", "C++", "cherry", "Guinea"]


def spelled(text: str) -> list[list[int]]:
    """All ways to make a text of PIECES: like a tokenizer that is not sure of itself."""
    if not text:
        return [[]]
    found = []
    for token, piece in enumerate(PIECES):
        if piece and text.startswith(piece.decode()):
            found += [[token, *rest] for rest in spelled(text[len(piece) :])]
    return found


@pytest.fixture
def matcher() -> Matcher:
    written = [[way for text in ways_to_write(name) for way in spelled(text)] for name in CONCEPTS]
    return Matcher(written, PIECES)


def whole_word(way: str) -> str:
    """A pattern that finds a text wherever it is whole, also where it overlaps with itself."""
    left = "(?<![A-Za-z0-9])" if way[0].isalnum() else ""
    right = "(?![A-Za-z0-9])" if way[-1].isalnum() else ""
    return f"(?={left}({re.escape(way)}){right})"


def naive(text: str) -> set[tuple[int, int, int]]:
    """Concept, first and last character of whole words in the text, those inside longer ones left out."""
    spans = {
        (concept, found.start(1), found.end(1))
        for concept, name in enumerate(CONCEPTS)
        for way in {way.strip() for way in ways_to_write(name)}
        for found in re.finditer(whole_word(way), text)
    }
    return {(c, a, b) for c, a, b in spans if not any(x <= a and b <= y and (x, y) != (a, b) for _, x, y in spans)}


def found_in(matcher: Matcher, tokens: list[int]) -> set[tuple[int, int, int]]:
    """The same by the matcher, in characters, white space in front left out."""
    ends = np.cumsum([0, *(len(PIECES[token]) for token in tokens)])
    text = b"".join(PIECES[token] for token in tokens).decode()
    spans = set()
    for concept, start, stop in zip(*(column.tolist() for column in matcher.find(np.array(tokens))), strict=True):
        first, last = int(ends[start]), int(ends[stop])
        spans.add((concept, first + len(text[first:last]) - len(text[first:last].lstrip()), last))
    return spans


@pytest.mark.parametrize("seed", range(40))
def test_occurrences_are_those_of_a_search_of_the_text(matcher: Matcher, seed: int) -> None:
    tokens = np.random.default_rng(seed).integers(1, len(PIECES), 400).tolist()
    text = b"".join(PIECES[token] for token in tokens).decode()
    assert found_in(matcher, tokens) == naive(text)


def test_what_is_outside_ends_a_text(matcher: Matcher) -> None:
    assert found_in(Matcher([[[1, 2]]], PIECES), [1, 2]) == {(0, 1, 7)}
    assert len(matcher.find(np.array([1, matcher.outside, 2])).concept_H) == 0
    assert matcher.find(np.array([5, matcher.outside, 5])).concept_H.tolist() == [1, 1]
    assert matcher.find(np.array([5, 5])).concept_H.tolist() == []
    assert matcher.find(np.zeros(0, np.int64)).concept_H.tolist() == []


def test_a_window_speaks_of_a_concept_where_its_token_is_part_of_it(matcher: Matcher) -> None:
    windows = [[12, 1, 2, 11], [12, 1, 2, 11], [9, 8], [9, 8], [4]]
    spoken = matcher.speaks_of(windows, [1, 3, 1, 0, 0], np.array([0, 0, 3, 4, 1]))
    assert spoken.tolist() == [True, False, False, True, True]
    assert matcher.speaks_of([], [], np.zeros(0, np.int64)).tolist() == []


def test_plurals_follow_the_usual_rules() -> None:
    assert plurals("cherry") == ["cherry", "cherries", "cherrys"]
    assert plurals("fox") == ["fox", "foxes"]
    assert plurals("C++") == ["C++"]
    assert " Dogs" in ways_to_write("dog")
    assert "camden" not in ways_to_write("Camden")
    assert Concept(("a",)).name == "a"
