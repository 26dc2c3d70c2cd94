"""LanceDB's share of the published tables: rows by number, lists that it filters and sorts, and the search index.

Importing LanceDB takes longer than all the rest of the server: data/published/tables.py does it where a table is first
asked for.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

os.environ.setdefault("LANCEDB_LOG", "error")  # read on import; it warns of every table that it makes

import lancedb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from lancedb.index import FTS, Bitmap, BTree, IvfFlat
from lancedb.query import ColumnOrdering, FullTextOperator, MatchQuery, MultiMatchQuery
from lancedb.table import Table

from data.published.schemas import SEARCH_FIELDS, SearchField

LANCE_FOLDER = "lance"
Vector = npt.NDArray[np.float32]
SEARCH_WEIGHTS: dict[SearchField, float] = {"label": 4.0, "peaks": 4.0, "promoted": 2.0, "examples": 1.0}
"""Weight of a match in each field, for the choice of those that are ranked."""
EXACT_MEANINGS = 50_000
"""So many vectors are compared one by one, in milliseconds; more have an index."""
PROBED_SHARE = 1 / 8
"""Of the index's cells, nearest first."""


def create_table(folder: Path, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write one table of a published folder from a stream of batches; returns its number of rows.

    Raises what `batches` raises, and OSError (ENOSPC) when the disk is full: LanceDB would make a RuntimeError of both.
    """
    raised: list[Exception] = []
    reader = pa.RecordBatchReader.from_batches(schema, _noting(batches, raised))
    try:
        table = lancedb.connect(str(folder / LANCE_FOLDER)).create_table(
            name, data=reader, schema=schema, mode="overwrite"
        )
        return int(table.count_rows())
    except (RuntimeError, OSError) as error:
        if raised:
            raise raised[0] from None
        if f"os error {errno.ENOSPC}" in str(error) or f"os error {errno.EDQUOT}" in str(error):
            raise OSError(errno.ENOSPC, str(error)) from None
        raise


def _noting(batches: Iterable[pa.RecordBatch], raised: list[Exception]) -> Iterator[pa.RecordBatch]:
    """The same batches; what stops them is kept."""
    try:
        yield from batches
    except Exception as error:
        raised.append(error)
        raise


def index_search(folder: Path) -> None:
    """Index table `search` of a published folder: its terms as they stand, and what searches are narrowed by."""
    table = lancedb.connect(str(folder / LANCE_FOLDER)).open_table("search")
    as_they_stand = FTS(
        base_tokenizer="whitespace",
        lower_case=False,
        stem=False,
        remove_stop_words=False,
        ascii_folding=False,
        max_token_length=None,
    )
    for name in SEARCH_FIELDS:
        table.create_index(name, config=as_they_stand)
    table.create_index("sae", config=Bitmap())
    for flag in ("alive", "live", "rare", "negligible"):
        table.create_index(flag, config=Bitmap())
    table.create_index("density", config=BTree())


def index_meanings(folder: Path) -> bool:
    """Index table `meanings` of a published folder where it is large; returns whether it is.

    Vectors are kept as they are, in about as many cells as the root of their number; a search reads PROBED_SHARE of
    them, so it can miss what lies far from the cells that are near, and what it finds has exact cosines.
    """
    table = lancedb.connect(str(folder / LANCE_FOLDER)).open_table("meanings")
    table.create_index("sae", config=Bitmap())
    table.create_index("density", config=BTree())
    large = table.count_rows() > EXACT_MEANINGS
    if large:
        table.create_index("vector", config=IvfFlat(distance_type="cosine"))
    return bool(large)


class LanceTables(dict[str, Table]):
    """The tables of a published folder by name, each opened when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder / LANCE_FOLDER
        self._connection = lancedb.connect(str(folder / LANCE_FOLDER))

    def __missing__(self, name: str) -> Table:
        table = self[name] = self._connection.open_table(name)
        return table

    def take(self, name: str, rows: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Rows of a table by number, in the order asked for; a number may come twice."""
        row_N = np.asarray(rows, dtype=np.int64)
        unique = row_N if (np.diff(row_N) > 0).all() else np.unique(row_N)
        found = self[name].take_offsets(unique.tolist()).select([*columns, "_rowoffset"]).to_arrow()
        assert len(found) == len(unique), f"table {name} lacks rows of {unique.tolist()[:5]}"
        offset_N = found["_rowoffset"].to_numpy()
        found = found.drop_columns("_rowoffset")
        if np.array_equal(offset_N, row_N):
            return found
        order = np.argsort(offset_N)
        return found.take(pa.array(order[np.searchsorted(offset_N[order], row_N)]))

    def holds(self, name: str) -> bool:
        """Whether there is such a table."""
        return name in self or (self._folder / f"{name}.lance").is_dir()

    def nearest(self, name: str, vector: Vector, where: str | None, limit: int) -> pa.Table:
        """`row` and `_distance` (1 less the cosine) of the rows of a table whose vectors are nearest."""
        cells = max(1, int(PROBED_SHARE * self[name].count_rows() ** 0.5))
        query = self[name].search(vector, vector_column_name="vector").distance_type("cosine").nprobes(cells)
        query = query.select(["row", "_distance"]).limit(limit)
        return (query.where(where, prefilter=True) if where else query).to_arrow()

    def sorted_features(
        self, where: str, columns: Sequence[str], sort: str, descending: bool, limit: int, offset: int
    ) -> pa.Table:
        """Features that satisfy a condition in SQL, sorted; ties by index, those without a value last."""
        order = [ColumnOrdering(column_name=sort, ascending=not descending)]
        if sort != "index":
            order.append(ColumnOrdering(column_name="index", ascending=True))
        query = self["features"].search().where(where).select(list(columns))
        return query.order_by(order).limit(limit).offset(offset).to_arrow()

    def search(self, terms: Sequence[str], fields: Sequence[SearchField], where: str | None, limit: int) -> pa.Table:
        """`row` and `_score` (BM25) of the features that have all terms in one of the fields."""
        words, operator = " ".join(terms), FullTextOperator.AND
        query: MatchQuery | MultiMatchQuery
        if len(fields) == 1:  # MultiMatchQuery takes two at least
            query = MatchQuery(words, fields[0], operator=operator)
        else:
            weights = [SEARCH_WEIGHTS[name] for name in fields]
            query = MultiMatchQuery(words, list(fields), boosts=weights, operator=operator)
        search = self["search"].search(query).select(["row", "_score"]).limit(limit)
        return (search.where(where) if where else search).to_arrow()
