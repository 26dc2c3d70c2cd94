"""The published tables of a run, made from its artifacts batch by batch: memory does not grow with features or corpus.

Shapes: F features of one SAE, R features of all SAEs in the order of the recipe, D width, B features of a batch.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.arrow import read_arrow
from data.artifacts.comparison import COMPARED_FILE
from data.artifacts.corpus import Cutting
from data.artifacts.effects import EFFECTS_FILE, READINGS_FILE
from data.artifacts.features import (
    COSINE_BINS,
    EXAMPLES_FILE,
    EXPLANATIONS_FILE,
    HELD_OUT,
    HELD_OUT_FILE,
    NEIGHBOURS_FILE,
    STATISTICS_FILE,
    cosine_column,
    squared_shares,
)
from data.artifacts.neurons import NEURON_EXAMPLES_FILE, NEURONS_FILE
from data.artifacts.responses import read_best_strengths
from data.errors import ArtifactError
from data.manifests import load_manifest
from data.published.schemas import (
    PUBLISHED_EXAMPLES,
    PUBLISHED_READINGS,
    SEARCH,
    features_schema,
    splitting_schema,
)
from pipeline.geometry.nearest import decoder_rows
from pipeline.geometry.relatives import best_cosines, count_cosines
from pipeline.models.sae import load_header
from pipeline.processes import in_parts
from pipeline.publishing.artifacts import RunArtifacts
from pipeline.publishing.columns import (
    TABLE_BATCH_ROWS,
    RunTable,
    batch_of,
    batch_slices,
    columns_of,
    count_examples,
    fixed_lists,
)
from pipeline.publishing.concept_tables import ConceptTables
from pipeline.publishing.corpus_tables import CorpusTables
from pipeline.publishing.interest import Tables, measure_interest
from pipeline.publishing.map_tables import MapTables
from pipeline.publishing.meanings import meanings_table
from pipeline.publishing.score_tables import ScoreTables
from pipeline.publishing.search_rows import SearchRows
from pipeline.publishing.strength_tables import StrengthTables
from pipeline.publishing.telling import TellingWords


class RunTables(RunArtifacts):
    """Everything that is published in LanceDB, by table name."""

    @cached_property
    def sizes(self) -> list[int]:
        """F of every SAE."""
        return [load_header(self.folders["train"] / name).num_features for name in self.saes]

    @cached_property
    def first_rows(self) -> list[int]:
        """Row of feature 0 of every SAE."""
        return [0, *np.cumsum(self.sizes).tolist()[:-1]]

    @cached_property
    def map(self) -> MapTables:
        return MapTables(self.folders, self.saes, self.sizes, self.first_rows, self.kinds)

    @cached_property
    def scores(self) -> ScoreTables:
        return ScoreTables(self.folders["score"], self.saes, self.sizes, self.first_rows)

    @cached_property
    def concepts(self) -> ConceptTables:
        return ConceptTables(self.folders["completeness"], self.saes, self.sizes, self.first_rows)

    @cached_property
    def strengths(self) -> StrengthTables:
        return StrengthTables(self.folders["strengths"], self.saes, self.sizes, self.first_rows)

    def search(self, scratch: Path) -> RunTable:
        """The table that the search asks; where it is long, other processes make its rows.

        scratch: folder for a hidden file that they read.
        """
        rows = SearchRows(self.folders, self.saes, self.vocabulary, self.rare_tokens)
        parts = in_parts(rows, sum(self.sizes), scratch)
        return RunTable(SEARCH, sum(self.sizes), lambda: (batch for part in parts for batch in part))

    def others(self) -> dict[str, RunTable]:
        """Every other table of data.published.tables."""
        width = load_header(self.folders["train"] / self.saes[0]).width
        num_examples = sum(len(table) for table in self._per_sae("examples", EXAMPLES_FILE))
        self._check_rows("neighbours", len(self._neighbours), sum(self.sizes))
        return {
            "features": RunTable(features_schema(width, len(self.saes)), sum(self.sizes), self._features),
            "examples": RunTable(PUBLISHED_EXAMPLES, num_examples, self._examples),
            "neighbours": _table(self._neighbours),
            "activity": RunTable(HELD_OUT, sum(self.sizes), self._activity),
            "readings": RunTable(
                PUBLISHED_READINGS, sum(map(len, self._per_sae("effects", READINGS_FILE))), self._readings
            ),
            **self.scores.all(),
            "compared": _table(read_arrow(self.folders["compare"] / COMPARED_FILE)),
            **self.concepts.all(),
            **self.strengths.all(),
            "neuron_examples": _table(read_arrow(self.folders["neurons"] / NEURON_EXAMPLES_FILE)),
            **CorpusTables(self.corpus, self.vocabulary).all(),
            "splitting": RunTable(splitting_schema(width, len(self.saes)), len(self.saes), self._splitting),
            **meanings_table(
                self.folders["embed"], self.saes, self.first_rows, self._per_sae("examples", STATISTICS_FILE)
            ),
        }

    def _features(self) -> Iterator[pa.RecordBatch]:
        first_example = first_reading = 0
        cutting = Cutting.of(load_manifest(self.folders["tokenize"]).counts)
        for name, size in zip(self.saes, self.sizes, strict=True):
            statistics = self.read("examples", name, STATISTICS_FILE)
            explanations, labels = self.read("explain", name, EXPLANATIONS_FILE), self.labels(name)
            effects, neurons = self.read("effects", name, EFFECTS_FILE), self.read("neurons", name, NEURONS_FILE)
            for table in (statistics, explanations, effects, neurons):
                self._check_rows(name, len(table), size)
            readings_F = effects["num_readings"].to_numpy().astype(np.int64)
            reading_F = first_reading + np.cumsum(readings_F) - readings_F
            first_reading += int(readings_F.sum())
            num_FE = count_examples(self.read("examples", name, EXAMPLES_FILE), size, name)
            first_F = first_example + np.cumsum(num_FE.sum(1)) - num_FE.sum(1)
            first_example += int(num_FE.sum())
            first_row = self.first_rows[self.saes.index(name)]
            share_F, kinds = squared_shares(statistics["sum_squares"].to_numpy()), self.kinds[name]
            examples = self.read("examples", name, EXAMPLES_FILE).select(["index", "kind", "document", "position"])
            told_by = Tables(statistics, explanations, effects, examples)
            interest_F, at_start_F = measure_interest(told_by, cutting, self.telling)
            for rows in batch_slices(size):
                columns = {
                    "sae": pa.array([name] * len(range(*rows.indices(size)))),
                    **columns_of(statistics, rows),
                    "squared_share": pa.array(share_F[rows]),
                    "live": pa.array(kinds.live_F[rows]),
                    "rare": pa.array(kinds.rare_F[rows]),
                    "negligible": pa.array(kinds.negligible_F[rows]),
                    **columns_of(labels, rows),
                    **columns_of(effects, rows),
                    **self.scores.columns(name, rows),
                    **self.strengths.columns(name, rows),
                    **columns_of(neurons, rows),
                    "first_reading": pa.array(reading_F[rows], pa.int64()),
                    "interest": interest_F[rows],
                    "at_start": pa.array(at_start_F[rows].astype(np.float32)),
                    "best_strength": self._best_strengths(name, rows),
                    "first_example": pa.array(first_F[rows], pa.int64()),
                    "num_examples": fixed_lists(num_FE[rows].astype(np.int16)),
                    **self.map.places(first_row + rows.start, first_row + rows.stop),
                    **self._cosines(first_row + rows.start, first_row + rows.stop),
                    "vector": fixed_lists(decoder_rows(self.folders["train"] / name, rows)),
                }
                yield batch_of(features_schema(columns["vector"].type.list_size, len(self.saes)), columns)

    @cached_property
    def telling(self) -> TellingWords:
        """The words of the corpus by what they tell."""
        return TellingWords(self.corpus, self.vocabulary)

    def _examples(self) -> Iterator[pa.RecordBatch]:
        yield from self._by_row(PUBLISHED_EXAMPLES, self._per_sae("examples", EXAMPLES_FILE))

    def _readings(self) -> Iterator[pa.RecordBatch]:
        yield from self._by_row(PUBLISHED_READINGS, self._per_sae("effects", READINGS_FILE))

    def _by_row(self, schema: pa.Schema, tables: list[pa.Table]) -> Iterator[pa.RecordBatch]:
        """Tables of the SAEs that name features by index, with rows in its place."""
        for first_row, table in zip(self.first_rows, tables, strict=True):
            for rows in batch_slices(len(table)):
                columns = columns_of(table, rows)
                row_M = first_row + columns["index"].to_numpy().astype(np.int64)
                yield batch_of(schema, {**columns, "row": pa.array(row_M)})

    def _cosines(self, start: int, stop: int) -> dict[str, pa.Array]:
        """The highest cosines of the features of some rows."""
        return {cosine_column(s): pa.array(best_B) for s, best_B in enumerate(self._best(start, stop).T)}

    def _best(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        return best_cosines(self._neighbours.slice(start, stop - start), len(self.saes))

    @cached_property
    def _neighbours(self) -> pa.Table:
        return read_arrow(self.folders["neighbours"] / NEIGHBOURS_FILE)

    def _best_strengths(self, name: str, rows: slice) -> pa.Array:
        """The best strengths of the features of some rows of an SAE, null where none was measured."""
        found = self._responding.get(name, {})
        return pa.array([found.get(index) for index in range(rows.start, rows.stop)], pa.float32())

    @cached_property
    def _responding(self) -> dict[str, dict[int, float]]:
        return read_best_strengths(self.folders["respond"])

    def _activity(self) -> Iterator[pa.RecordBatch]:
        for table in self._per_sae("explain", HELD_OUT_FILE):
            yield from table.to_batches(max_chunksize=TABLE_BATCH_ROWS)

    def _splitting(self) -> Iterator[pa.RecordBatch]:
        for name in self.saes:
            kinds, (sum_D, counts, minor_counts) = self.kinds[name], self._summed(name)
            num_live = int(kinds.live_F.sum())
            columns = {
                "sae": pa.array([name]),
                "num_live": pa.array([num_live]),
                "num_minor": pa.array([int(kinds.minor_F.sum())]),
                "mean": fixed_lists((sum_D / max(num_live, 1)).astype(np.float32)[None]),
                "counts": fixed_lists(counts.reshape(1, -1)),
                "minor_counts": fixed_lists(minor_counts.reshape(1, -1)),
            }
            yield batch_of(splitting_schema(len(sum_D), len(self.saes)), columns)

    def _summed(self, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The sum of an SAE's live directions [D], and the counts of cosines of its live and its minor features."""
        place, folder, kinds = self.saes.index(name), self.folders["train"] / name, self.kinds[name]
        first_row, size = self.first_rows[place], self.sizes[place]
        total, counts = np.zeros(1), np.zeros((2, len(self.saes), COSINE_BINS), np.int64)
        for rows in batch_slices(size):
            best_BS = self._best(first_row + rows.start, first_row + rows.stop)
            total = total + decoder_rows(folder, rows)[kinds.live_F[rows]].sum(0, dtype=np.float64)
            counts += np.stack([count_cosines(best_BS[mask_F[rows]]) for mask_F in (kinds.live_F, kinds.minor_F)])
        return total, counts[0], counts[1]

    def _per_sae(self, stage: str, file: str) -> list[pa.Table]:
        return [self.read(stage, name, file) for name in self.saes]

    def _check_rows(self, what: str, found: int, expected: int) -> None:
        if found != expected:
            raise ArtifactError(f"{what} has {found:,} rows for {expected:,} features: run the recipe again")


def _table(table: pa.Table) -> RunTable:
    """A table that is there already."""
    return RunTable(table.schema, len(table), lambda: table.to_batches(max_chunksize=TABLE_BATCH_ROWS))
