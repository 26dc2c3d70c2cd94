"""Concepts counted in a corpus, and examples that stand on them, against naive references."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import CONTRAST, EXAMPLES, INTERVAL, TOP
from data.concepts.matching import Matcher
from data.concepts.specificity import Candidates
from pipeline.completeness import occurrences
from pipeline.completeness.evidence import read_examples
from pipeline.completeness.occurrences import count_occurrences
from tests.support.fakes import make_corpus

PIECES = [b"", b" sun", b" moon", b"sun", b"flower", b" light", b"."]
SUN, MOON, JOINED, FLOWER, LIGHT = 1, 2, 3, 4, 5
WRITTEN = [[[SUN], [JOINED]], [[MOON]], [[MOON, LIGHT]]]


@pytest.fixture
def corpus(tmp_path: Path) -> TokenizedCorpus:
    rng = np.random.default_rng(0)
    documents = [rng.integers(1, len(PIECES), int(length)).tolist() for length in rng.integers(1, 60, 80)]
    return make_corpus(tmp_path / "tokenize", documents, 16, held_out=[3, 40, 79])


def naive(corpus: TokenizedCorpus, documents: list[int]) -> list[int]:
    """Suns that are not part of a longer word, moons without light, moonlights."""
    counts = [0, 0, 0]
    for document in documents:
        tokens = [*corpus.document_tokens(document).tolist(), 0]
        for place, token in enumerate(tokens):
            # Nothing stands before the first token; all other tokens end in a letter but the full stop.
            before = tokens[place - 1] if place else 0
            whole = (token == SUN or (token == JOINED and before in (0, 6))) and tokens[place + 1] not in (
                JOINED,
                FLOWER,
            )
            counts[0] += whole
            ended = tokens[place + 1] if place + 1 < len(tokens) else 0
            moonlight = token == MOON and ended == LIGHT and tokens[place + 2] not in (JOINED, FLOWER)
            counts[2] += moonlight
            counts[1] += token == MOON and not moonlight and ended not in (JOINED, FLOWER)
    return counts


@pytest.mark.parametrize("block", [1, 50, 1 << 20])
def test_counts_are_those_of_a_naive_search(
    corpus: TokenizedCorpus, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(occurrences, "BLOCK_TOKENS", block)
    training = np.flatnonzero(~corpus.held_out).tolist()
    found = count_occurrences(corpus, Matcher(WRITTEN, PIECES), 3)
    assert found.occurrences_C.tolist() == naive(corpus, training)
    assert found.num_tokens == int(corpus.lengths[training].sum())


def test_a_limit_ends_after_the_document_that_reaches_it(corpus: TokenizedCorpus) -> None:
    training = np.flatnonzero(~corpus.held_out)
    limit = int(corpus.lengths[training[:10]].sum())
    found = count_occurrences(corpus, Matcher(WRITTEN, PIECES), 3, limit)
    assert found.num_tokens == limit
    assert found.occurrences_C.tolist() == naive(corpus, training[:10].tolist())


def test_examples_at_which_a_candidate_fires_are_those_that_are_read(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "tokenize", [[SUN, MOON, LIGHT, 6, SUN, FLOWER, SUN]] * 3, 16)
    places = [  # feature, kind, position, activation
        (4, TOP, 0, 9.0), (4, TOP, 1, 8.0), (4, CONTRAST, 4, 9.0), (4, INTERVAL, 0, 9.0), (4, INTERVAL, 6, 5.0),
        (4, INTERVAL, 4, 4.9), (7, TOP, 1, 3.0), (7, TOP, 2, 2.0),
    ]  # fmt: skip
    rows = [
        {**dict.fromkeys(EXAMPLES.names, 0), "index": f, "kind": kind, "document": 1, "position": position,
         "activation": activation, "offsets": [], "values": []}
        for f, kind, position, activation in places
    ]  # fmt: skip
    examples = pa.Table.from_pylist(rows, EXAMPLES)
    candidates = Candidates(
        np.array([0, 0, 2, 1]), np.arange(4), np.array([4, 9, 7, 7]), np.array([10, 1, 2, 2], np.float32)
    )
    on_C, num_C = read_examples(
        examples, corpus, Matcher(WRITTEN, PIECES), candidates, np.array([True, True, True, False])
    )
    assert num_C.tolist() == [3, 0, 2, 0]  # the token at 0 is two examples; 4.9 is below half of 10
    assert on_C.tolist() == [2, 0, 2, 0]
