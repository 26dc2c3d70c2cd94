"""The published tables of one run: written once by `publish`, read by the server.

Rows are found by number (`take`): at any size in microseconds where they lie in an Arrow file (data/published/rows.py),
else in milliseconds by LanceDB (data/published/lance.py). Lists are filtered and sorted inside LanceDB, which also
keeps the indexes that `search` asks. Only the vocabulary is read whole.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.artifacts.features import EXAMPLE_KINDS
from data.concepts.indexing import TokenIndex
from data.published.memory import Memory
from data.published.rows import RowFile, copying, row_file_path
from data.published.schemas import TOKENS_PER_CHUNK, SearchField, is_row_column

if TYPE_CHECKING:
    from data.published.lance import LanceTables

TABLES = ("features", "examples", "documents", "chunks", "vocabulary", "search", "splitting", "meanings")
"""In LanceDB; the last is not in every run."""
ROW_TABLES = (
    "features",
    "examples",
    "neighbours",
    "search",
    "activity",
    "readings",
    "neuron_examples",
    "judged",
    "scores",
    "compared",
    "candidates",
    "tried",
    "concepts",
    "concept_features",
    "concept_activity",
    "strengths",
)
"""In Arrow files: features, examples and search are copies, see data/published/rows.py."""
TOKEN_INDEX_FOLDER = "token_index"
"""Of a published folder: the training documents, see data/concepts/indexing.py."""
CHUNKS_CACHED = 1 << 14
"""Chunks of tokens kept in memory: 16 MB."""
Sort = Literal[
    "interest",
    "index",
    "label",
    "density",
    "max",
    "mean",
    "label_score",
    "label_precision",
    "label_recall",
    "specificity",
    "highest_r",
]
SORTS: tuple[Sort, ...] = get_args(Sort)


def write_table(folder: Path, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write one table of a published folder from a stream of batches; returns its number of rows.

    Raises what `batches` raises, and OSError (ENOSPC) when the disk is full.
    """
    assert name in TABLES + ROW_TABLES, f"{name} is not a published table"
    if name in ROW_TABLES:
        kept = [column for column in schema.names if is_row_column(name, column)]
        batches = copying(row_file_path(folder, name), schema, kept, batches)
    if name not in TABLES:
        return sum(map(len, batches))
    from data.published.lance import create_table

    return create_table(folder, name, schema, batches)


@dataclass(frozen=True)
class PublishedRun:
    """Read access to the tables of one published run."""

    folder: Path
    """published/{run}/{key}"""

    @cached_property
    def _tables(self) -> "LanceTables":
        from data.published.lance import LanceTables

        return LanceTables(self.folder)

    @cached_property
    def _rows(self) -> dict[str, RowFile]:
        return {name: RowFile(row_file_path(self.folder, name)) for name in ROW_TABLES}

    @cached_property
    def _schemas(self) -> dict[str, pa.Schema]:
        """Schemas asked for so far: the tables of a published run do not change."""
        return {}

    def _schema(self, name: str) -> pa.Schema:
        if name not in self._schemas:
            self._schemas[name] = self._tables[name].schema if name in TABLES else self._rows[name].schema
        return self._schemas[name]

    def take(self, name: str, rows: Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
        """Rows of a table by number, in the order asked for; a number may come twice."""
        names = list(columns) if columns is not None else self._schema(name).names
        file = self._rows.get(name)
        if file is not None and file.has(names):
            return file.take(rows, names)
        if len(rows) == 0:
            return pa.schema([self._schema(name).field(column) for column in names]).empty_table()
        return self._tables.take(name, rows, names)

    @cached_property
    def width(self) -> int:
        """D: numbers in a decoder direction."""
        return int(self._tables["features"].schema.field("vector").type.list_size)

    def count(self, name: str) -> int:
        """Rows of a table."""
        return len(self._rows[name]) if name in self._rows else int(self._tables[name].count_rows())

    def list_features(
        self,
        where: str,
        columns: Sequence[str],
        *,
        sort: str = "index",
        descending: bool = False,
        limit: int = 50,
        offset: int = 0,
    ) -> pa.Table:
        """One page of the features that satisfy `where`, a condition in SQL, sorted by LanceDB (ties by index).

        Features without the value that is sorted by come last in either direction.
        """
        assert sort in SORTS or sort.startswith("cosine_"), f"cannot sort by {sort}"
        return self._tables.sorted_features(where, columns, sort, descending, limit, offset)

    def count_features(self, where: str) -> int:
        """Number of features that satisfy `where`."""
        return int(self._tables["features"].count_rows(where))

    def search(
        self, terms: Sequence[str], fields: Sequence[SearchField], where: str | None, limit: int
    ) -> list[tuple[int, float]]:
        """Row and score (BM25) of the features that have all terms in one of the fields, the best first.

        `terms` are of data.published.terms and hold no white space; `where` is a condition in SQL on `sae`,
        `alive`, `live`, `rare`, `negligible`, `density`.
        """
        found = self._tables.search(terms, fields, where, limit)
        pairs = zip(found["row"].to_pylist(), found["_score"].to_pylist(), strict=True)
        return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))

    @cached_property
    def meaning_width(self) -> int:
        """Numbers in the vectors of table `meanings`; 0 where the run has none."""
        if not self._tables.holds("meanings"):
            return 0
        return int(self._tables["meanings"].schema.field("vector").type.list_size)

    def nearest_meanings(
        self, vector: npt.NDArray[np.float32], where: str | None, limit: int
    ) -> list[tuple[int, float]]:
        """Row and cosine of the features whose meaning is nearest to a vector, the nearest first.

        `where` is a condition in SQL on `sae` and `density`. The run must have meanings. Approximate where there are
        many, see data.published.lance.index_meanings.
        """
        found = self._tables.nearest("meanings", vector, where, limit)
        pairs = zip(found["row"].to_pylist(), (1 - found["_distance"].to_numpy()).tolist(), strict=True)
        return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))

    def examples(
        self, first: int, num_by_kind: Sequence[int], kind: int | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """A feature's examples, of one kind (a number in EXAMPLE_KINDS) or of all."""
        assert len(num_by_kind) == len(EXAMPLE_KINDS)
        start = first if kind is None else first + sum(num_by_kind[:kind])
        stop = first + sum(num_by_kind) if kind is None else start + num_by_kind[kind]
        return self.take("examples", range(start, stop), columns)

    def windows(self, documents: Sequence[int], starts: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
        """The token ids of stretches of documents, each given by document row, first position and length."""
        first_chunks = self.take("documents", documents, ["first_chunk"])["first_chunk"].to_pylist()
        return self.windows_from(first_chunks, starts, lengths)

    def windows_from(
        self, first_chunks: Sequence[int], starts: Sequence[int], lengths: Sequence[int]
    ) -> list[list[int]]:
        """The same where the documents' first chunks are known."""
        return [tokens.tolist() for tokens in self._stretches("tokens", first_chunks, starts, lengths)]

    @cached_property
    def has_roles(self) -> bool:
        """Whether the corpus is of conversations, whose tokens have roles."""
        return "roles" in self._tables["chunks"].schema.names

    def roles(
        self, documents: Sequence[int], starts: Sequence[int], lengths: Sequence[int]
    ) -> list[npt.NDArray[np.uint8]]:
        """Roles of the tokens of stretches, given as for `windows`, see ROLES and COUNTED in data.artifacts.corpus."""
        first_chunks = self.take("documents", documents, ["first_chunk"])["first_chunk"].to_pylist()
        return self.roles_from(first_chunks, starts, lengths)

    def roles_from(
        self, first_chunks: Sequence[int], starts: Sequence[int], lengths: Sequence[int]
    ) -> list[npt.NDArray[np.uint8]]:
        """The same where the documents' first chunks are known."""
        return self._stretches("roles", first_chunks, starts, lengths)

    def _stretches(
        self, column: str, first_chunks: Sequence[int], starts: Sequence[int], lengths: Sequence[int]
    ) -> list[npt.NDArray[Any]]:
        """A column of table `chunks` for stretches of documents."""
        spans = [
            (first + start // TOKENS_PER_CHUNK, first + (start + max(length, 1) - 1) // TOKENS_PER_CHUNK)
            for first, start, length in zip(first_chunks, starts, lengths, strict=True)
        ]
        chunks = self._chunks(column, {chunk for low, high in spans for chunk in range(low, high + 1)})
        windows = []
        for (low, high), start, length in zip(spans, starts, lengths, strict=True):
            values = chunks[low] if low == high else np.concatenate([chunks[chunk] for chunk in range(low, high + 1)])
            skip = start % TOKENS_PER_CHUNK
            windows.append(values[skip : skip + length])
        return windows

    def _chunks(self, column: str, wanted: set[int]) -> dict[int, npt.NDArray[Any]]:
        """A column of some chunks by number; those read lately are remembered."""
        remembered = self._read_chunks[column]
        known = {chunk: values for chunk in wanted if (values := remembered.get(chunk)) is not None}
        missing = sorted(wanted - known.keys())
        if missing:
            lists = self.take("chunks", missing, [column])[column].combine_chunks()
            bounds, flat = lists.offsets.to_numpy(), lists.values.to_numpy()
            read = {chunk: flat[bounds[i] : bounds[i + 1]].copy() for i, chunk in enumerate(missing)}
            remembered.put(read)
            known |= read
        return known

    @cached_property
    def _read_chunks(self) -> dict[str, Memory[int, npt.NDArray[Any]]]:
        return {column: Memory(CHUNKS_CACHED) for column in ("tokens", "roles")}

    def neighbours(
        self, row: int, num_saes: int, *, minor: bool = False
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Indices and cosines [S, K] of a feature's nearest in every SAE of the run; -1 where there are fewer.

        They are live features; with `minor` those that are rare or negligible, fewer.
        """
        kind, shape = "minor_" if minor else "", (num_saes, -1)
        record: dict[str, Any] = self.take("neighbours", [row], [f"{kind}indices", f"{kind}cosines"]).to_pylist()[0]
        indices, cosines = record[f"{kind}indices"], record[f"{kind}cosines"]
        return np.array(indices, np.int32).reshape(shape), np.array(cosines, np.float32).reshape(shape)

    def activity(self, rows: Sequence[int]) -> list[npt.NDArray[np.int32]]:
        """The held-out tokens on which features are active, by row: ascending numbers that all SAEs share."""
        lists = self.take("activity", rows)["tokens"].combine_chunks()
        bounds, flat = lists.offsets.to_numpy(), lists.values.to_numpy()
        return [flat[bounds[i] : bounds[i + 1]] for i in range(len(rows))]

    @cached_property
    def token_index(self) -> TokenIndex:
        """The training documents, or the first of them, with an index."""
        return TokenIndex.load(self.folder / TOKEN_INDEX_FOLDER)

    @cached_property
    def vocabulary(self) -> list[bytes]:
        """The bytes of every token by id."""
        return cast(list[bytes], self._tables["vocabulary"].to_arrow()["text"].to_pylist())
