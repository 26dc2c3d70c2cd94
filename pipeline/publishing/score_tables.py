"""The published scores of features, from the artifact of stage `score`.

Shapes: F features of one SAE, M judged activations, N scores.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from data.arrow import read_arrow
from data.artifacts.candidates import CANDIDATES_FILE, TRIED_FILE
from data.artifacts.scores import JUDGED_FILE, SCORES_FILE, TASK_NAMES, read_judges
from data.published.schemas import PUBLISHED_JUDGED, PUBLISHED_LABEL_CANDIDATES, PUBLISHED_SCORES, PUBLISHED_TRIED
from pipeline.publishing.columns import RunTable, batch_of, batch_slices, columns_of

FILES = {
    "judged": (PUBLISHED_JUDGED, JUDGED_FILE),
    "scores": (PUBLISHED_SCORES, SCORES_FILE),
    "candidates": (PUBLISHED_LABEL_CANDIDATES, CANDIDATES_FILE),
    "tried": (PUBLISHED_TRIED, TRIED_FILE),
}
"""Schema and file of each table."""
COLUMNS = (
    (JUDGED_FILE, "first_judged", "num_judged", np.int32),
    (SCORES_FILE, "first_score", "num_scores", np.int16),
    (CANDIDATES_FILE, "first_candidate", "num_candidates", np.int16),
    (TRIED_FILE, "first_tried", "num_tried", np.int16),
)
"""Columns of table `features` that lead to the rows of each."""


@dataclass(frozen=True)
class ScoreTables:
    """What judges said, by row of the feature."""

    folder: Path
    """The artifact."""
    saes: tuple[str, ...]
    sizes: list[int]
    first_rows: list[int]

    def all(self) -> dict[str, RunTable]:
        """All of FILES."""
        return {name: self._table(schema, file) for name, (schema, file) in FILES.items()}

    def _table(self, schema: pa.Schema, file: str) -> RunTable:
        tables = [read_arrow(self.folder / sae / file) for sae in self.saes]

        def batches() -> Iterator[pa.RecordBatch]:
            for first_row, table in zip(self.first_rows, tables, strict=True):
                for rows in batch_slices(len(table)):
                    columns = columns_of(table, rows)
                    row_M = first_row + columns["index"].to_numpy().astype(np.int64)
                    yield batch_of(schema, {**columns, "row": pa.array(row_M)})

        return RunTable(schema, sum(map(len, tables)), batches)

    def columns(self, sae: str, rows: slice) -> dict[str, pa.Array]:
        """The columns of table `features` that lead to a feature's scores, and its specificity."""
        return {name: column.slice(rows.start, rows.stop - rows.start) for name, column in self._columns[sae].items()}

    @cached_property
    def _columns(self) -> dict[str, dict[str, pa.Array]]:
        found, before = {}, {file: 0 for file, *_ in COLUMNS}
        for sae, size in zip(self.saes, self.sizes, strict=True):
            columns = {}
            for file, first, count, kind in COLUMNS:
                num_F = np.bincount(read_arrow(self.folder / sae / file)["index"].to_numpy(), minlength=size)
                columns[first] = pa.array(before[file] + np.cumsum(num_F) - num_F)
                columns[count] = pa.array(num_F.astype(kind))
                before[file] += int(num_F.sum())
            found[sae] = {**columns, "specificity": self._specificity(sae, size)}
        return found

    def _specificity(self, sae: str, size: int) -> pa.Array:
        """By the first judge that scored any feature so; null where it did not."""
        table = read_arrow(self.folder / sae / SCORES_FILE)
        judge_N, task_N = table["judge"].to_numpy(), table["task"].to_numpy()
        some_N = (judge_N == self.leading_judge) & (task_N == TASK_NAMES.index("specificity"))
        value_F = np.full(size, np.nan, np.float32)
        value_F[table["index"].to_numpy()[some_N]] = table["value"].to_numpy()[some_N]
        return pa.array(value_F, mask=np.isnan(value_F))

    @cached_property
    def leading_judge(self) -> int:
        """Number of the judge whose specificity lists show; -1 where no judge gave any."""
        judges = read_judges(self.folder)
        return next((n for n, judge in enumerate(judges) if judge.num_features and "specificity" in judge.trust), -1)
