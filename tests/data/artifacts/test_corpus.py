from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data.artifacts.corpus import (
    DOCUMENTS,
    SEQUENCE,
    Cutting,
    TokenizedCorpus,
    document_id,
    format_document_id,
    is_held_out,
)

LENGTHS = [3, 10, 1, 4]
HELD_OUT = [False, True, False, False]
MAX_LENGTH = 4


@pytest.fixture
def corpus(tmp_path: Path) -> TokenizedCorpus:
    """Four documents, token = 100 * document + position, split into sequences of at most four."""
    tokens = np.concatenate([100 * d + np.arange(n, dtype="<u4") for d, n in enumerate(LENGTHS)]).astype("<u4")
    tokens.tofile(tmp_path / "tokens.bin")
    offsets = np.cumsum([0, *LENGTHS])[:-1]
    columns = [[document_id("test", str(d)) for d in range(4)], ["test"] * 4, ["{}"] * 4, HELD_OUT, offsets, LENGTHS]
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, DOCUMENTS, strict=True)], schema=DOCUMENTS)
    with pa.ipc.new_file(str(tmp_path / "documents.arrow"), DOCUMENTS) as writer:
        writer.write_table(table)
    pieces = [(d, s, min(MAX_LENGTH, n - s)) for d, n in enumerate(LENGTHS) for s in range(0, n, MAX_LENGTH)]
    np.save(tmp_path / "sequences.npy", np.array(pieces, SEQUENCE))
    return TokenizedCorpus(tmp_path)


def test_every_sequence_holds_the_tokens_it_names(corpus: TokenizedCorpus) -> None:
    for number, (document, start, length) in enumerate(corpus.sequences.tolist()):
        expected = [100 * document + start + i for i in range(length)]
        assert corpus.sequence_tokens(number).tolist() == expected


def test_documents_are_the_sum_of_their_sequences(corpus: TokenizedCorpus) -> None:
    for row, length in enumerate(LENGTHS):
        numbers = np.flatnonzero(corpus.sequences["document"] == row)
        joined = np.concatenate([corpus.sequence_tokens(int(n)) for n in numbers])
        assert joined.tolist() == corpus.document_tokens(row).tolist()
        assert len(joined) == length


def test_held_out_sequences_are_the_others(corpus: TokenizedCorpus) -> None:
    training, held_out = corpus.sequence_numbers(held_out=False), corpus.sequence_numbers(held_out=True)
    assert sorted([*training, *held_out]) == list(range(len(corpus.sequences)))
    assert set(corpus.sequences["document"][held_out].tolist()) == {1}


def test_ids_are_stable_and_depend_on_source_and_locator() -> None:
    assert document_id("a", "b") == document_id("a", "b")
    assert len({document_id("a", "b"), document_id("ab", ""), document_id("a", "c"), document_id("", "ab")}) == 4
    assert all(0 <= document_id("a", str(i)) < 2**63 for i in range(1000))
    assert format_document_id(255) == "00000000000000ff"


def test_the_held_out_share_is_what_was_asked_and_grows_with_it() -> None:
    ids = [document_id("a", str(i)) for i in range(20_000)]
    few, more = ({i for i in ids if is_held_out(i, fraction)} for fraction in (0.02, 0.1))
    assert few < more
    assert len(few) == pytest.approx(400, rel=0.2)  # five standard deviations are 25%
    assert not any(is_held_out(i, 0.0) for i in ids)
    assert all(is_held_out(i, 1.0) for i in ids)


@pytest.mark.parametrize("bos_id", [7, None])
@pytest.mark.parametrize("longest", [1, 3, 10])
def test_every_token_that_does_not_open_a_document_is_in_one_sequence(bos_id: int | None, longest: int) -> None:
    cutting, first = Cutting(longest, bos_id), 1 if bos_id is None else 0
    assert cutting.first == first
    for length in range(1, 25):
        pieces = cutting.pieces(length)
        assert [p for start, size in pieces for p in range(start, start + size)] == list(range(first, length))
        assert all(size <= longest for _, size in pieces)
        for start, size in pieces:
            assert {cutting.start(position) for position in range(start, start + size)} == {start}
            assert cutting.pieces(length, start + size - 1) == [piece for piece in pieces if piece[0] >= start]


def test_a_sequence_is_opened_by_bos_or_else_by_the_token_before_it(corpus: TokenizedCorpus) -> None:
    assert corpus.opened((1, 4, 3), 7).tolist() == [7, 104, 105, 106]
    assert corpus.opened((1, 4, 3), None).tolist() == [103, 104, 105, 106]
    assert Cutting(3, 7).opened([104, 105]) == [7, 104, 105]
    assert Cutting(3, None).opened([103, 104, 105]) == [103, 104, 105]
    assert Cutting.of({"context_length": 4, "bos_id": None}) == (3, None)
