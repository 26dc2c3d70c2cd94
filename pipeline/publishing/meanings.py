"""Table `meanings`: the vectors of the sentence encoder, as they are searched.

Shapes: N features that have one.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from data.arrow import read_arrow
from data.artifacts.features import MEANINGS_FILE
from data.published.schemas import published_meanings_schema
from pipeline.publishing.columns import TABLE_BATCH_ROWS, RunTable


def meanings_table(
    folder: Path, saes: Sequence[str], first_rows: Sequence[int], statistics: Sequence[pa.Table]
) -> dict[str, RunTable]:
    """The table by its name, from the artifact of stage `embed`; nothing where the recipe turns it off.

    first_rows: row of feature 0 of every SAE; statistics: of every SAE, from stage `examples`.
    """
    file = folder / MEANINGS_FILE
    if not file.is_file():
        return {}
    found = read_arrow(file)
    row_N = found["row"].to_numpy()
    place_N = np.searchsorted(first_rows, row_N, side="right") - 1
    columns = {
        "row": found["row"],
        "sae": pa.array(saes).take(pa.array(place_N)),
        "density": pa.array(np.concatenate([table["density"].to_numpy() for table in statistics])[row_N]),
        "vector": found["vector"],
    }
    schema = published_meanings_schema(found["vector"].type.list_size)
    table = pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)
    return {"meanings": RunTable(schema, len(table), lambda: table.to_batches(max_chunksize=TABLE_BATCH_ROWS))}
