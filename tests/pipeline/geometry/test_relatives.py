import numpy as np
import pyarrow as pa

from data.artifacts.features import COSINE_BINS, NO_RELATIVE, cosine_edges, neighbours_schema
from pipeline.geometry.relatives import best_cosines, count_cosines

COLUMNS = (("indices", 1), ("cosines", 0.1))


def test_the_highest_cosine_is_with_a_live_feature_of_each_sae():
    schema = neighbours_schema(2, 3)
    rows = {
        "indices": [[2, -1, -1, 0, 2, -1], [0, 2, -1, 2, 0, -1], [0, -1, -1, -1, -1, -1]],
        "cosines": [[0.8, 0, 0, 0.7, 0.5, 0], [0.9, 0.4, 0, -0.3, -0.4, 0], [0.8, 0, 0, 0, 0, 0]],
        "minor_indices": [[1, -1, -1, 1, -1, -1]] * 3,
        "minor_cosines": [[0.9, 0, 0, 0.6, 0, 0]] * 3,
    }
    best = best_cosines(pa.table(rows, schema), 2)
    np.testing.assert_allclose(best, [[0.8, 0.7], [0.9, -0.3], [0.8, NO_RELATIVE]], rtol=1e-6)


def test_some_rows_of_a_table_are_read_as_they_are():
    table = pa.table(
        {f"{kind}{name}": [[i * scale] for i in range(9)] for kind in ("", "minor_") for name, scale in COLUMNS},
        neighbours_schema(1, 1),
    )
    best = best_cosines(table.slice(4, 3), 1)
    np.testing.assert_allclose(best[:, 0], [0.4, 0.5, 0.6], rtol=1e-6)


def test_cosines_are_counted_in_hundredths_and_an_edge_counts_above_it():
    edges = cosine_edges()
    assert (len(edges), edges[0], edges[-1]) == (COSINE_BINS + 1, -1, 1)
    best = np.array([[-1.0], [0.0], [0.5], [np.nextafter(np.float32(0.5), np.float32(0))], [1.0]], np.float32)
    counts = count_cosines(best)[0]
    assert counts.sum() == 5
    assert np.flatnonzero(counts).tolist() == [0, 100, 149, 150, 199]
