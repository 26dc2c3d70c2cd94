"""Closeness to evidence, on planted embeddings and beside a naive reference."""

import pytest
import torch
from torch import Tensor

from pipeline.influence.closeness import MIN_WORDS, SAME, UNRELATED, Closeness
from pipeline.influence.evidence import Evidence
from pipeline.models.tokenizer import Tokenizer
from tests.support.models import byte_tokenizer

WIDTH = 24
TOKENIZER = Tokenizer(byte_tokenizer())
EVIDENCE = Evidence(("aaa", "bbb"), (4.0, 2.0))


@pytest.fixture
def rows_VD() -> Tensor:
    """A row for each byte, all of them with much in common, as embeddings of frequent words have."""
    rows = torch.randn(300, WIDTH, generator=torch.Generator().manual_seed(0))
    rows[:, 0] = 20 * rows[:, 0].abs()
    a, c = (TOKENIZER.encode(letter)[0] for letter in "ac")
    rows[c, 1:] = rows[a, 1:]
    return rows


def naive(rows_VD: Tensor, word: str) -> Tensor:
    """The whitened vector of a word."""
    centred = rows_VD - rows_VD.mean(0)
    values, axes = torch.linalg.eigh(torch.cov(rows_VD.T, correction=0))
    row = rows_VD[torch.tensor(TOKENIZER.encode(f" {word}"))].mean(0) - rows_VD.mean(0)
    assert torch.allclose((centred @ axes / values.sqrt()).T.cov(correction=0), torch.eye(WIDTH), atol=1e-3)
    vector = (row @ axes) / values.sqrt()
    return vector / vector.norm()


def test_words_are_as_close_as_a_naive_reference_says(rows_VD: Tensor) -> None:
    words = ["aaa", "bbb", "ccc", "ddd", "abc"]
    found = Closeness(rows_VD, TOKENIZER).of_words(words, EVIDENCE).tolist()
    for word, close in zip(words, found, strict=True):
        by_hand = max(
            weight * min(max((float(naive(rows_VD, word) @ naive(rows_VD, e)) - UNRELATED) / (SAME - UNRELATED), 0), 1)
            for e, weight in (("aaa", 1.0), ("bbb", 0.5))
        )
        assert close == pytest.approx(by_hand, abs=1e-4)
    assert found[:2] == pytest.approx([1.0, 0.5])


def test_what_all_words_have_in_common_does_not_count(rows_VD: Tensor) -> None:
    closeness = Closeness(rows_VD, TOKENIZER)
    close = closeness.of_tokens(torch.arange(256), EVIDENCE)
    a, c = (TOKENIZER.encode(letter)[0] for letter in "ac")
    assert {a, c} <= set(close.topk(4).indices.tolist())
    assert float(close.median()) < 0.1


def test_a_text_is_the_mean_over_its_different_words(rows_VD: Tensor) -> None:
    closeness = Closeness(rows_VD, TOKENIZER)
    one = float(closeness.of_words(["aaa"], EVIDENCE))
    assert closeness.of_text("Aaa aaa AAA aaa!", EVIDENCE) == pytest.approx(one / MIN_WORDS)
    many = [f"x{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(2 * MIN_WORDS)]
    expected = float(closeness.of_words(["aaa", *many], EVIDENCE).mean())
    assert closeness.of_text(" ".join(["aaa", *many]), EVIDENCE) == pytest.approx(expected, rel=1e-5)
    assert closeness.of_text("12 — ?", EVIDENCE) == 0.0
