"""How much words tell, on planted text: some come in bursts, some are strewn at random."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.publishing import telling as module
from pipeline.publishing.telling import FUNCTION_WEIGHT, PRIOR, TellingWords, cut, is_word, topicality
from tests.support.fakes import make_corpus

LENGTH, NUM_DOCUMENTS = 60, 40


def naive_topicality(documents: list[list[int]], word: int) -> float:
    """The formula, document by document."""
    total = sum(map(len, documents))
    count = sum(document.count(word) for document in documents)
    expected = sum(1 - np.exp(-count * len(document) / total) for document in documents)
    held = sum(word in document for document in documents)
    return max(0.0, 1 - (held + 4 * (1 - 0.4)) / (expected + 4))


def test_topicality_is_the_formula() -> None:
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, 5, rng.integers(1, 30)).tolist() for _ in range(12)]
    lengths = np.array([len(document) for document in documents])
    word_N, piece_N = np.concatenate(documents), np.repeat(np.arange(12), lengths)
    found = topicality(word_N, piece_N, lengths, 7)
    assert found == pytest.approx([naive_topicality(documents, word) for word in range(7)])
    assert found[6] == pytest.approx(PRIOR), "of a word that was never seen"


def test_long_documents_are_cut_into_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_TOKENS", 3)
    _, piece_N, length_P = cut(np.arange(9), np.array([7, 2]))
    assert piece_N.tolist() == [0, 0, 0, 1, 1, 1, 2, 3, 3]
    assert length_P.tolist() == [3, 3, 1, 2]


def test_what_comes_in_bursts_tells_more_than_what_is_strewn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OFTEN", 1.0)  # in so short a text every word makes up much of it
    pieces = [b" hurri", b"cane", b" thus", b" she", *(f" w{i}".encode() for i in range(400))]
    rng = np.random.default_rng(1)
    documents = []
    for number in range(NUM_DOCUMENTS):
        text = rng.integers(4, len(pieces), LENGTH).tolist()
        text[::20] = [2, 2, 2] if number % 2 else text[::20]  # "thus": in half of the documents
        if number < 4:
            text[10:40:2], text[11:41:2] = [0] * 15, [1] * 15  # "hurricane": all in four documents
            text[50:58] = [3] * 8
        documents.append(text)
    corpus = make_corpus(tmp_path, documents, 512, [])
    telling = TellingWords(corpus, pieces)
    assert telling.weight("Hurricane") > 0.5
    assert telling.weight("thus") < telling.weight("Hurricane") / 1.2
    assert 0 < telling.weight("she") < FUNCTION_WEIGHT, "in bursts, but a word that holds sentences together"
    assert telling.weight("unheard") == PRIOR
    monkeypatch.setattr(module, "OFTEN", 1e-3)
    assert TellingWords(corpus, pieces).weight("hurricane") == pytest.approx(telling.weight("hurricane") / 25)
    surface = telling.at(np.array([0, 0]), np.array([10, 11]))
    assert [telling.words.texts[number] for number in surface.tolist()] == ["hurricane"] * 2
    assert telling.weights(surface) == pytest.approx([telling.weight("hurricane")] * 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("river", True), ("of", False), ("1984", False), ("x86", False), (",", False), ("", False), ("北京", True),
        ("ไทย", True), ("हिन्दी", True), ("می\u200cخواهم", True), ("\u0301", False), ("don't", False),
    ],
)  # fmt: skip
def test_words_are_letters_alone(text: str, expected: bool) -> None:
    assert is_word(text) is expected
