"""The published tables of a run, made from its artifacts batch by batch: memory does not grow with features or corpus.

Shapes: F features of one SAE, R features of all SAEs in the order of the recipe, D width, C chunks.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.arrow import read_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import (
    COSINE_BINS,
    EXAMPLE_KINDS,
    EXAMPLES_FILE,
    EXPLANATIONS_FILE,
    MAP,
    MAP_FILE,
    NEIGHBOURS_FILE,
    STATISTICS_FILE,
    TOP,
    cosine_column,
)
from data.errors import ArtifactError
from data.published.maps import World, world_of
from data.published.schemas import (
    CHUNKS,
    PUBLISHED_DOCUMENTS,
    PUBLISHED_EXAMPLES,
    SEARCH,
    TOKENS_PER_CHUNK,
    VOCABULARY,
    features_schema,
    splitting_schema,
)
from pipeline.geometry.nearest import decoder_rows
from pipeline.geometry.relatives import best_cosines, count_cosines
from pipeline.models.sae import load_header
from pipeline.progress import Progress
from pipeline.publishing.searchable import NUM_TEXTS, ExampleTexts, search_batch

ROWS_PER_BATCH = 4096
TOKENS_PER_BATCH = 1 << 18


@dataclass(frozen=True)
class RunTable:
    """One published table, ready to be written."""

    schema: pa.Schema
    num_rows: int
    make: Callable[[], Iterable[pa.RecordBatch]]

    def batches(self, progress: Progress) -> Iterator[pa.RecordBatch]:
        """Its rows, each batch counted as it is taken."""
        for batch in self.make():
            yield batch
            progress.advance(len(batch))


@dataclass(frozen=True)
class RunTables:
    """Everything that is published in LanceDB, by table name."""

    folders: dict[str, Path]
    """The artifact of every stage."""
    saes: tuple[str, ...]
    """Names in the order of the recipe."""
    vocabulary: list[bytes]
    """The bytes of every token by id."""

    @cached_property
    def corpus(self) -> TokenizedCorpus:
        return TokenizedCorpus(self.folders["tokenize"])

    @cached_property
    def sizes(self) -> list[int]:
        """F of every SAE."""
        return [load_header(self.folders["train"] / name).num_features for name in self.saes]

    @cached_property
    def first_rows(self) -> list[int]:
        """Row of feature 0 of every SAE."""
        return [0, *np.cumsum(self.sizes).tolist()[:-1]]

    @property
    def num_rows(self) -> int:
        """Rows of all tables together."""
        return sum(table.num_rows for table in self.all().values())

    def all(self) -> dict[str, RunTable]:
        """Every table of data.published.tables.TABLES."""
        width = load_header(self.folders["train"] / self.saes[0]).width
        num_examples = sum(len(table) for table in self._per_sae("examples", EXAMPLES_FILE))
        neighbours = self._neighbours
        self._check_rows("neighbours", len(neighbours), sum(self.sizes))
        documents, chunks = len(self.corpus.documents), int(self._chunks_of_documents.sum())
        return {
            "features": RunTable(features_schema(width, len(self.saes)), sum(self.sizes), self._features),
            "examples": RunTable(PUBLISHED_EXAMPLES, num_examples, self._examples),
            "neighbours": RunTable(
                neighbours.schema, len(neighbours), lambda: neighbours.to_batches(max_chunksize=ROWS_PER_BATCH)
            ),
            "documents": RunTable(PUBLISHED_DOCUMENTS, documents, self._documents),
            "chunks": RunTable(CHUNKS, chunks, self._chunks),
            "vocabulary": RunTable(VOCABULARY, len(self.vocabulary), self._vocabulary),
            "search": RunTable(SEARCH, sum(self.sizes), self._search),
            "splitting": RunTable(splitting_schema(width, len(self.saes)), len(self.saes), self._splitting),
        }

    def _features(self) -> Iterator[pa.RecordBatch]:
        first_example = 0
        for name, size in zip(self.saes, self.sizes, strict=True):
            statistics = self._read("examples", name, STATISTICS_FILE)
            explanations = self._read("explain", name, EXPLANATIONS_FILE)
            for table in (statistics, explanations):
                self._check_rows(name, len(table), size)
            num_FE = self._num_examples(name, size)
            first_F = first_example + np.cumsum(num_FE.sum(1)) - num_FE.sum(1)
            first_example += int(num_FE.sum())
            first_row = self.first_rows[self.saes.index(name)]
            for rows in _ranges(size):
                columns = {
                    "sae": pa.array([name] * len(range(*rows.indices(size)))),
                    **_columns(statistics, rows),
                    **_columns(explanations, rows),
                    "first_example": pa.array(first_F[rows], pa.int64()),
                    "num_examples": _fixed_lists(num_FE[rows].astype(np.int16)),
                    **self._places(first_row + rows.start, first_row + rows.stop),
                    **self._cosines(first_row + rows.start, first_row + rows.stop),
                    "vector": _fixed_lists(decoder_rows(self.folders["train"] / name, rows)),
                }
                yield _batch(features_schema(columns["vector"].type.list_size, len(self.saes)), columns)

    def _examples(self) -> Iterator[pa.RecordBatch]:
        for first_row, table in zip(self.first_rows, self._per_sae("examples", EXAMPLES_FILE), strict=True):
            for rows in _ranges(len(table)):
                columns = _columns(table, rows)
                row_M = first_row + columns["index"].to_numpy().astype(np.int64)
                yield _batch(PUBLISHED_EXAMPLES, {**columns, "row": pa.array(row_M)})

    def _num_examples(self, name: str, size: int) -> npt.NDArray[np.int64]:
        """How many examples of each kind every feature has [F, kinds]; they must be sorted by both."""
        table = self._read("examples", name, EXAMPLES_FILE)
        slot_M = table["index"].to_numpy().astype(np.int64) * len(EXAMPLE_KINDS) + table["kind"].to_numpy()
        if (np.diff(slot_M) < 0).any():
            raise ArtifactError(f"the examples of {name} are not sorted: run `monosema examples` again")
        counts = np.bincount(slot_M, minlength=size * len(EXAMPLE_KINDS))
        return cast(npt.NDArray[np.int64], counts.reshape(size, -1))

    def _places(self, start: int, stop: int) -> dict[str, pa.Array]:
        """Where the features of some rows lie on the map; null for those that are not on it."""
        points = self._points
        low, high = np.searchsorted(points["row"], (start, stop)).tolist()
        at = points["row"][low:high] - start
        places = {}
        for axis in ("x", "y"):
            values, missing = np.zeros(stop - start, np.float32), np.ones(stop - start, bool)
            values[at], missing[at] = points[axis][low:high], False
            places[axis] = pa.array(values, mask=missing)
        return places

    @cached_property
    def _points(self) -> dict[str, npt.NDArray[Any]]:
        """Columns of the map, sorted by row."""
        points = read_arrow(self.folders["project"] / MAP_FILE).sort_by("row")
        return {name: points[name].to_numpy() for name in MAP.names}

    def _cosines(self, start: int, stop: int) -> dict[str, pa.Array]:
        """The highest cosines of the features of some rows."""
        return {cosine_column(s): pa.array(best_B) for s, best_B in enumerate(self._best(start, stop).T)}

    def _best(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        return best_cosines(self._neighbours.slice(start, stop - start), self._live, self.first_rows)

    @cached_property
    def _neighbours(self) -> pa.Table:
        return read_arrow(self.folders["neighbours"] / NEIGHBOURS_FILE)

    @cached_property
    def _live(self) -> npt.NDArray[np.bool_]:
        """Which features of the run are active at all [R]."""
        return np.concatenate([t["num_active"].to_numpy() > 0 for t in self._per_sae("examples", STATISTICS_FILE)])

    def _splitting(self) -> Iterator[pa.RecordBatch]:
        for name in self.saes:
            num_live, sum_D, counts = self._summed(name)
            columns = {
                "sae": pa.array([name]),
                "num_live": pa.array([num_live]),
                "mean": _fixed_lists((sum_D / max(num_live, 1)).astype(np.float32)[None]),
                "counts": _fixed_lists(counts.reshape(1, -1)),
            }
            yield _batch(splitting_schema(len(sum_D), len(self.saes)), columns)

    def _summed(self, name: str) -> tuple[int, npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Live features of an SAE: how many, the sum of their directions [D], and the counts of their cosines."""
        place, folder = self.saes.index(name), self.folders["train"] / name
        first_row, size = self.first_rows[place], self.sizes[place]
        num_live, total = 0, np.zeros(1)
        counts = np.zeros((len(self.saes), COSINE_BINS), np.int64)
        for rows in _ranges(size):
            start, stop = first_row + rows.start, first_row + rows.stop
            live_B = self._live[start:stop]
            num_live += int(live_B.sum())
            total = total + decoder_rows(folder, rows)[live_B].sum(0, dtype=np.float64)
            counts += count_cosines(self._best(start, stop)[live_B])
        return num_live, total, counts

    @property
    def num_points(self) -> int:
        """Features on the map."""
        return len(self._points["row"])

    def world(self) -> World:
        """The square of the map that holds them."""
        return world_of(self._points["x"], self._points["y"])

    def points(self) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """What the map shows of each SAE, see data.published.maps.write_map."""
        for name, first, size in zip(self.saes, self.first_rows, self.sizes, strict=True):
            low, high = np.searchsorted(self._points["row"], (first, first + size)).tolist()
            index_N = self._points["row"][low:high] - first
            yield {
                "index": index_N.astype(np.int32),
                **{axis: self._points[axis][low:high] for axis in ("x", "y")},
                "density": self._read("examples", name, STATISTICS_FILE)["density"].to_numpy()[index_N],
                "label_score": self._read("explain", name, EXPLANATIONS_FILE)["label_score"].to_numpy()[index_N],
            }

    @cached_property
    def _lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each document."""
        return np.asarray(self.corpus.documents["num_tokens"], np.int64)

    @cached_property
    def _chunks_of_documents(self) -> npt.NDArray[np.int64]:
        """How many chunks each document takes."""
        return -(-self._lengths // TOKENS_PER_CHUNK)

    def _documents(self) -> Iterator[pa.RecordBatch]:
        first_chunk = np.cumsum(self._chunks_of_documents) - self._chunks_of_documents
        for rows in _ranges(len(first_chunk)):
            columns = _columns(self.corpus.documents, rows)
            yield _batch(PUBLISHED_DOCUMENTS, {**columns, "first_chunk": pa.array(first_chunk[rows])})

    def _chunks(self) -> Iterator[pa.RecordBatch]:
        """Runs of whole documents of about TOKENS_PER_BATCH tokens; their tokens lie one after the other."""
        lengths = self._lengths
        ends = np.cumsum(lengths)
        groups = np.unique((ends - lengths) // TOKENS_PER_BATCH, return_index=True)[1].tolist()
        for start, stop in zip(groups, [*groups[1:], len(lengths)], strict=True):
            tokens = self.corpus.tokens[ends[start] - lengths[start] : ends[stop - 1]].astype(np.int32)
            bounds = chunk_bounds(lengths[start:stop])
            lists = pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), pa.array(tokens))
            yield _batch(CHUNKS, {"tokens": lists})

    def _vocabulary(self) -> Iterator[pa.RecordBatch]:
        yield _batch(VOCABULARY, {"text": pa.array(self.vocabulary, pa.binary())})

    def _search(self) -> Iterator[pa.RecordBatch]:
        texts = ExampleTexts(self.corpus, self.vocabulary)
        for name, size, first_row in zip(self.saes, self.sizes, self.first_rows, strict=True):
            features = pa.Table.from_arrays(
                [
                    *self._read("examples", name, STATISTICS_FILE).select(["num_active", "density"]),
                    *self._read("explain", name, EXPLANATIONS_FILE).select(["label", "promoted"]),
                ],
                ["num_active", "density", "label", "promoted"],
            )
            examples = self._read("examples", name, EXAMPLES_FILE).select(["document", "position"])
            num_FE = self._num_examples(name, size)
            first_F = np.cumsum(num_FE.sum(1)) - num_FE.sum(1)
            num_F = np.minimum(num_FE[:, TOP], NUM_TEXTS)
            for rows in _ranges(size):
                some = examples.slice(first_F[rows][0], int(num_FE[rows].sum()))
                found = texts.of_features(some, first_F[rows] - first_F[rows][0], num_F[rows])
                yield search_batch(name, first_row + rows.start, _columns(features, rows), found, self.vocabulary)

    def _per_sae(self, stage: str, file: str) -> list[pa.Table]:
        return [self._read(stage, name, file) for name in self.saes]

    def _read(self, stage: str, sae: str, file: str) -> pa.Table:
        return read_arrow(self.folders[stage] / sae / file)

    def _check_rows(self, what: str, found: int, expected: int) -> None:
        if found != expected:
            raise ArtifactError(f"{what} has {found:,} rows for {expected:,} features: run the recipe again")


def chunk_bounds(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where chunks begin and end in documents that lie one after the other: [C + 1]."""
    starts = np.cumsum(lengths) - lengths
    bounds = [np.arange(s, s + n, TOKENS_PER_CHUNK) for s, n in zip(starts.tolist(), lengths.tolist(), strict=True)]
    return np.concatenate([*bounds, [lengths.sum()]]).astype(np.int64)


def _ranges(total: int) -> Iterator[slice]:
    for start in range(0, total, ROWS_PER_BATCH):
        yield slice(start, min(start + ROWS_PER_BATCH, total))


def _columns(table: pa.Table, rows: slice) -> dict[str, pa.Array]:
    """Some rows of a table, each column in one piece."""
    chosen = table.slice(rows.start or 0, None if rows.stop is None else rows.stop - (rows.start or 0))
    return {name: _whole(chosen[name]) for name in table.schema.names}


def _whole(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined


def _fixed_lists(values_NK: npt.NDArray[np.generic]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values_NK.reshape(-1)), values_NK.shape[1])


def _batch(schema: pa.Schema, columns: dict[str, pa.Array]) -> pa.RecordBatch:
    """One batch of the columns that `schema` names."""
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)
