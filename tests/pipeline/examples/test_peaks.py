"""The words at a token, found in the text near it as in all of it."""

import random

import pytest

from pipeline.examples.peaks import NOTHING, Peak, _find_any, find_peak

PIECES = [
    *(" ", " ", " ", "  ", "\n", "\x07", "the", "Of", "C", "x", "86", "64", "hurricanes"),
    *("-", "'", ".", ",", "+", "#", "_", "/", "(", "é", "e\u0301", "’", "日", "本", "ไทย", "ภาษา", "\u200d", "½"),
]


@pytest.mark.parametrize("seed", range(4))
def test_the_words_near_a_token_are_those_of_the_whole_text(seed: int) -> None:
    rng = random.Random(seed)
    kinds = PIECES if seed % 2 else [piece for piece in PIECES if piece.isascii()]
    for _ in range(2_000):
        before, centre, after = ("".join(rng.choices(kinds, k=k)) for k in (rng.randrange(9), 1, rng.randrange(9)))
        text, start = before + centre + after, len(before)
        assert find_peak(text, start, start + len(centre)) == _find_any(text, start, start + len(centre)), text


@pytest.mark.parametrize(
    ("token", "peak"),
    [
        ("C", Peak("c++", "a", "+")),
        ("64", Peak("x86-64", "-", "code")),
        (",", Peak(",", "file", "then")),
        (".", Peak(".", "code", "end")),
        ("\n", NOTHING),
    ],
)
def test_what_says_little_is_named_by_its_compound(token: str, peak: Peak) -> None:
    text = "of a C++ file, then x86-64 code . end \n too"
    start = text.index(token)
    assert find_peak(text, start, start + len(token)) == peak
