"""The published tables of the corpus: its documents, their tokens in chunks, and the vocabulary.

Shapes: C chunks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.artifacts.corpus import TokenizedCorpus
from data.published.schemas import CHAT_CHUNKS, CHUNKS, PUBLISHED_DOCUMENTS, TOKENS_PER_CHUNK, VOCABULARY
from pipeline.publishing.columns import RunTable, batch_of, batch_slices, columns_of

TOKENS_PER_BATCH = 1 << 18


@dataclass(frozen=True)
class CorpusTables:
    """Published tables of a tokenized corpus."""

    corpus: TokenizedCorpus
    vocabulary: list[bytes]
    """The bytes of every token by id."""

    def all(self) -> dict[str, RunTable]:
        """By table name."""
        num_chunks = int(self._chunks_of_documents.sum())
        return {
            "documents": RunTable(PUBLISHED_DOCUMENTS, len(self.corpus.documents), self._documents),
            "chunks": RunTable(self._chunks_schema, num_chunks, self._chunks),
            "vocabulary": RunTable(VOCABULARY, len(self.vocabulary), self._vocabulary),
        }

    @property
    def _chunks_schema(self) -> pa.Schema:
        return CHUNKS if self.corpus.roles is None else CHAT_CHUNKS

    @cached_property
    def _lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each document."""
        return np.asarray(self.corpus.documents["num_tokens"], np.int64)

    @cached_property
    def _chunks_of_documents(self) -> npt.NDArray[np.int64]:
        """Number of chunks that each document takes."""
        return -(-self._lengths // TOKENS_PER_CHUNK)

    def _documents(self) -> Iterator[pa.RecordBatch]:
        first_chunk = np.cumsum(self._chunks_of_documents) - self._chunks_of_documents
        for rows in batch_slices(len(first_chunk)):
            columns = columns_of(self.corpus.documents, rows)
            yield batch_of(PUBLISHED_DOCUMENTS, {**columns, "first_chunk": pa.array(first_chunk[rows])})

    def _chunks(self) -> Iterator[pa.RecordBatch]:
        """Runs of whole documents of about TOKENS_PER_BATCH tokens; their tokens lie one after the other."""
        lengths = self._lengths
        ends = np.cumsum(lengths)
        groups = np.unique((ends - lengths) // TOKENS_PER_BATCH, return_index=True)[1].tolist()
        for start, stop in zip(groups, [*groups[1:], len(lengths)], strict=True):
            some = slice(ends[start] - lengths[start], ends[stop - 1])
            columns = {"tokens": pa.array(self.corpus.tokens[some].astype(np.int32))}
            if self.corpus.roles is not None:
                columns["roles"] = pa.array(np.asarray(self.corpus.roles[some]))
            bounds = pa.array(chunk_bounds(lengths[start:stop]), pa.int32())
            lists = {name: pa.ListArray.from_arrays(bounds, flat) for name, flat in columns.items()}
            yield batch_of(self._chunks_schema, lists)

    def _vocabulary(self) -> Iterator[pa.RecordBatch]:
        yield batch_of(VOCABULARY, {"text": pa.array(self.vocabulary, pa.binary())})


def chunk_bounds(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Offsets at which chunks begin and end in documents that lie one after the other: [C + 1]."""
    starts = np.cumsum(lengths) - lengths
    bounds = [np.arange(s, s + n, TOKENS_PER_CHUNK) for s, n in zip(starts.tolist(), lengths.tolist(), strict=True)]
    return np.concatenate([*bounds, [lengths.sum()]]).astype(np.int64)
