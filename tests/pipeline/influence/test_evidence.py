"""Evidence: planted words come out, frequent ones do not, and the log-odds are those of a naive count."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import EXAMPLES, INTERVAL, TOP
from pipeline.influence.evidence import AFTER, BEFORE, WINDOW, Background, Evidence, read_evidence, weigh, words_of
from tests.support.fakes import make_corpus

PIECES = [b" the", b" of", b" cat", b" dog", b" King", b" king", b" throne", b" ro", b"yal", b".", b" it"]
FILLER, KINGS = [0, 1, 2, 3, 9, 10], [4, 5, 6, 7]
NUM_DOCUMENTS, LENGTH, PEAK, NUM_BANDS = 40, 200, 100, 5
ABOUT_KINGS = range(8)


@pytest.fixture
def corpus(tmp_path: Path) -> TokenizedCorpus:
    """Documents of filler, eight of which have words about kings in the middle, and one word far from there."""
    rng = np.random.default_rng(0)
    documents = [rng.choice(FILLER, LENGTH).tolist() for _ in range(NUM_DOCUMENTS)]
    for number in ABOUT_KINGS:
        documents[number][PEAK - 3 : PEAK + 3] = [5 if number % 2 else 4, 0, 6, 7, 8, 1]
    return make_corpus(tmp_path / "corpus", documents, LENGTH + 1)


def examples(kind: int, band: int = -1, index: int = 7) -> pa.Table:
    rows = [
        {
            "index": index, "kind": kind, "rank": number, "band": band, "document": number, "document_id": number,
            "position": PEAK, "start": 0, "length": LENGTH, "activation": 1.0, "pre_activation": 1.0, "offsets": [],
            "values": [], "repeats": 0,
        }
        for number in ABOUT_KINGS
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=EXAMPLES)


def test_words_are_folded_runs_of_letters() -> None:
    assert words_of("The King's 3 kings; Straße—and x-RAY") == ["the", "king", "kings", "strasse", "and", "ray"]


def test_planted_words_are_evidence_and_filler_is_not(corpus: TokenizedCorpus) -> None:
    found = read_evidence(examples(TOP), NUM_BANDS, corpus, PIECES, Background(corpus, PIECES))
    assert set(found) == {7}
    assert set(found[7].words) == {"king", "throne", "royal"}, "pieces are joined, upper and lower case are one word"
    assert all(odds > 2 for odds in found[7].weights)


def test_only_strong_bands_count(corpus: TokenizedCorpus) -> None:
    background = Background(corpus, PIECES)
    assert read_evidence(examples(INTERVAL, band=2), NUM_BANDS, corpus, PIECES, background) == {}
    top = read_evidence(examples(TOP), NUM_BANDS, corpus, PIECES, background)
    assert read_evidence(examples(INTERVAL, band=3), NUM_BANDS, corpus, PIECES, background) == top


def test_a_window_ends_where_it_says(corpus: TokenizedCorpus) -> None:
    shifted = examples(TOP).set_column(
        EXAMPLES.get_field_index("position"), EXAMPLES.field("position"), pa.array([PEAK + BEFORE + 10] * 8, pa.int32())
    )
    background = Background(corpus, PIECES)
    assert read_evidence(shifted, NUM_BANDS, corpus, PIECES, background)[7] == Evidence((), ())
    assert WINDOW == BEFORE + 1 + AFTER


def test_log_odds_are_those_of_a_naive_count(corpus: TokenizedCorpus) -> None:
    background = Background(corpus, PIECES)
    texts = [
        b"".join(PIECES[token] for token in corpus.tokens[start : start + WINDOW].tolist()).decode()
        for start in range(0, len(corpus.tokens), WINDOW)
    ]
    share = (sum("throne" in text for text in texts) + 0.5) / (len(texts) + 1)
    documents = [{"throne", "cat"}] * 3 + [{"cat"}] * 2
    found = weigh(documents, background)
    assert found.words == ("throne",)
    assert found.weights[0] == pytest.approx(math.log(3.5 / 2.5) - math.log(share / (1 - share)))
    assert weigh(documents[1:], background).words == (), "two documents may be chance"
