"""Rules are tried on each context once, and on none from which they may have been made; copies are evidence once."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from data.artifacts.contexts import CONTEXT_SIDE, context_hashes
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import CONTRAST, EXAMPLES, INTERVAL, TOP
from pipeline.influence.evidence import strong_examples
from pipeline.labels.fresh import FreshText, evidence_contexts
from tests.support.fakes import make_corpus

PARAGRAPH = list(range(100, 130))
MIDDLE = len(PARAGRAPH) // 2
COPIES = 6


def make_copies(folder: Path) -> TokenizedCorpus:
    """A paragraph in every document, behind as many words as the document's number."""
    return make_corpus(folder, [[n + 1] * n + PARAGRAPH + [50 + n] * 20 for n in range(COPIES)], 512)


def table_of(kinds: list[int], index: int = 7) -> pa.Table:
    """An example in the middle of the paragraph of each document in turn."""
    blank = dict.fromkeys(EXAMPLES.names, 0) | {"offsets": [], "values": [], "band": 4, "index": index}
    rows = [blank | {"kind": kind, "document": n, "position": n + MIDDLE} for n, kind in enumerate(kinds)]
    return pa.Table.from_pylist(rows, schema=EXAMPLES)


def test_contexts_are_the_same_where_the_tokens_around_are(tmp_path: Path) -> None:
    corpus = make_copies(tmp_path)
    document_N = np.repeat(np.arange(COPIES), corpus.lengths)
    position_N = np.concatenate([np.arange(length) for length in corpus.lengths.tolist()])
    found: dict[int, set[tuple[int, ...]]] = {}
    for context, document, position in zip(
        context_hashes(corpus, document_N, position_N).tolist(), document_N.tolist(), position_N.tolist(), strict=True
    ):
        tokens = [-1] * CONTEXT_SIDE + corpus.document_tokens(document).tolist() + [-1] * CONTEXT_SIDE
        found.setdefault(context, set()).add(tuple(tokens[position : position + 2 * CONTEXT_SIDE + 1]))
    assert all(len(texts) == 1 for texts in found.values())
    assert len(found) == len(set.union(*found.values()))
    assert min(found) >= 0


def test_each_context_counts_once_and_those_of_examples_not_at_all(tmp_path: Path) -> None:
    corpus = make_copies(tmp_path)
    middles = np.arange(COPIES), np.arange(COPIES) + MIDDLE
    fresh = FreshText(corpus, np.zeros(0, np.int64))
    assert fresh.places(*middles).tolist() == [0]
    assert fresh.places(*middles).tolist() == []
    every = np.ones(COPIES, bool)
    known = evidence_contexts(corpus, [table_of([CONTRAST, TOP])], every)
    assert FreshText(corpus, known).places(*middles).tolist() == []
    for kinds, usable in (([CONTRAST, CONTRAST], every), ([TOP], np.arange(COPIES) > 0)):
        known = evidence_contexts(corpus, [table_of(kinds)], usable)
        assert FreshText(corpus, known).places(*middles).tolist() == [0]


def test_copies_are_evidence_once_for_each_feature(tmp_path: Path) -> None:
    corpus = make_copies(tmp_path)
    table = pa.concat_tables([table_of([TOP, INTERVAL, TOP]), table_of([INTERVAL, TOP], index=8)])
    assert strong_examples(table, 5, corpus).tolist() == [True, False, False, True, False]
