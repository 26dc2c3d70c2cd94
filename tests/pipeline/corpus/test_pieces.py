"""Documents and parts do not depend on the blocks in which a text comes, and lose nothing of it."""

import random
from itertools import pairwise

import pytest

from pipeline.corpus.pieces import cut

SEPARATOR = "<|end|>"


def blocks_of(text: str, seed: int) -> list[str]:
    """A text in random blocks."""
    rng, blocks, start = random.Random(seed), [], 0
    while start < len(text):
        stop = start + rng.choice([1, 2, 7, 40, 300])
        blocks.append(text[start:stop])
        start = stop
    return blocks


def some_text(seed: int) -> str:
    rng = random.Random(seed)
    return "".join(rng.choice(["word ", "a\n", "b\n\n", "x" * 30, SEPARATOR, "<|e", ""]) for _ in range(300))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("longest", [20, 60, 100_000])
@pytest.mark.parametrize("separator", [None, SEPARATOR])
def test_blocks_do_not_matter_and_nothing_is_lost(seed: int, longest: int, separator: str | None) -> None:
    text = some_text(seed)
    pieces = list(cut([text], longest, separator))
    assert list(cut(blocks_of(text, seed), longest, separator)) == pieces
    documents: dict[int, str] = {}
    for piece in pieces:
        documents[piece.document] = documents.get(piece.document, "") + piece.text
        assert len(piece.text) <= longest + len(separator or "")
    expected = text.split(separator) if separator else [text]
    assert list(documents.values()) == (expected if expected[-1].strip() or len(expected) == 1 else expected[:-1])
    parts = [piece.part for piece in pieces]
    assert all(after in {0, 1, before + 1} for before, after in pairwise(parts))


def test_a_long_document_is_cut_behind_a_blank_line_else_a_line_else_a_word() -> None:
    def texts(text: str) -> list[str]:
        return [piece.text for piece in cut([text], 20)]

    assert texts("aaaa bbbb cc\n\nd\neeee ffff") == ["aaaa bbbb cc\n\n", "d\neeee ffff"]
    assert texts("aaaa bbbb cc\nd eeee ffff") == ["aaaa bbbb cc\n", "d eeee ffff"]
    assert texts("aaaa bbbb cc d eeee ffff") == ["aaaa bbbb cc d eeee ", "ffff"]
    assert texts("a" * 45) == ["a" * 20, "a" * 20, "a" * 5]
    assert texts("a" * 20) == ["a" * 20]
