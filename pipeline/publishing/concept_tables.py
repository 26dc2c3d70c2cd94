"""The published concepts and their candidates, from the artifact of stage `completeness`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from data.arrow import read_arrow
from data.artifacts.completeness import ACTIVITY, ACTIVITY_FILE, CANDIDATES_FILE, CONCEPTS_FILE
from data.published.schemas import PUBLISHED_CANDIDATES
from pipeline.publishing.columns import TABLE_BATCH_ROWS, RunTable, batch_of, batch_slices, columns_of


@dataclass(frozen=True)
class ConceptTables:
    """Concepts, and which features are active on their prompts, by row of the feature."""

    folder: Path
    """The artifact."""
    saes: tuple[str, ...]
    sizes: list[int]
    first_rows: list[int]

    def all(self) -> dict[str, RunTable]:
        """Files `concepts`, `concept_features` and `concept_activity`."""
        concepts = read_arrow(self.folder / CONCEPTS_FILE)
        num_candidates = sum(len(read_arrow(self.folder / sae / CANDIDATES_FILE)) for sae in self.saes)
        return {
            "concepts": RunTable(concepts.schema, len(concepts), lambda: concepts.to_batches(TABLE_BATCH_ROWS)),
            "concept_features": RunTable(PUBLISHED_CANDIDATES, num_candidates, self._candidates),
            "concept_activity": RunTable(ACTIVITY, sum(self.sizes), self._activity),
        }

    def _candidates(self) -> Iterator[pa.RecordBatch]:
        for sae, first_row in zip(self.saes, self.first_rows, strict=True):
            table = read_arrow(self.folder / sae / CANDIDATES_FILE)
            for rows in batch_slices(len(table)):
                columns = columns_of(table, rows)
                row_C = first_row + columns["index"].to_numpy().astype("int64")
                yield batch_of(PUBLISHED_CANDIDATES, {**columns, "row": pa.array(row_C)})

    def _activity(self) -> Iterator[pa.RecordBatch]:
        for sae in self.saes:
            yield from read_arrow(self.folder / sae / ACTIVITY_FILE).to_batches(TABLE_BATCH_ROWS)
