"""Artifact of stage `neurons`, column by column: {sae}/neurons.arrow, and neuron_examples.arrow of all SAEs together.

How they are measured: pipeline/neurons/. A neuron is an MLP's, of one layer: the activation that enters `down_proj`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

NEURONS_FILE = "neurons.arrow"
NEURON_EXAMPLES_FILE = "neuron_examples.arrow"

HIGHEST_END, LOWEST_END = 1, -1
"""Ends of a neuron's range, as NEURON_EXAMPLES.end has them."""
WEAK_R = 0.3
"""A feature whose highest |r| is below this is like no neuron (Scaling Monosemanticity)."""
R_BINS = 20
"""Of the distribution of highest |r|, from 0 to 1: a twentieth each."""

NEURONS = pa.schema(
    [
        pa.field("index", pa.int32(), nullable=False),
        # Tokens on which it is active, of those that were read; null where it was not among the features correlated.
        pa.field("neuron_tokens", pa.int32()),
        pa.field("neuron_r", pa.list_(pa.float32()), nullable=False),  # highest |r| first; none where it is too few
        pa.field("neuron_layer", pa.list_(pa.int16()), nullable=False),
        pa.field("neuron", pa.list_(pa.int32()), nullable=False),  # number in its layer
        # Rows of the examples of the first of them, at the end of its range that r's sign says; as many as have some.
        pa.field("first_neuron_example", pa.list_(pa.int64()), nullable=False),
        pa.field("num_neuron_examples", pa.list_(pa.int16()), nullable=False),
        pa.field("highest_r", pa.float32()),  # |r| of the first; null where there is none
    ]
)

NEURON_EXAMPLES = pa.schema(
    [
        pa.field("layer", pa.int16(), nullable=False),  # rows are sorted by layer, neuron, end and rank
        pa.field("neuron", pa.int32(), nullable=False),
        pa.field("end", pa.int8(), nullable=False),  # HIGHEST_END or LOWEST_END
        pa.field("rank", pa.int16(), nullable=False),  # 0 is the strongest
        pa.field("document", pa.int32(), nullable=False),  # row in the corpus's documents
        pa.field("document_id", pa.int64(), nullable=False),
        pa.field("position", pa.int32(), nullable=False),  # of the token that made it an example, in its document
        pa.field("start", pa.int32(), nullable=False),  # position of the window's first token
        pa.field("activation", pa.float32(), nullable=False),  # at `position`
        pa.field("values", pa.list_(pa.float32()), nullable=False),  # of every token of the window, 0 where left out
    ]
)


def summarize_r(highest_r: Sequence[float] | npt.NDArray[np.float32]) -> dict[str, Any]:
    """The distribution of the highest |r| of the features of an SAE that have one, as plain JSON."""
    values = np.asarray(highest_r, np.float64)
    counts = np.histogram(np.clip(values, 0, 1), R_BINS, (0, 1))[0]
    return {
        "num_features": len(values),
        "num_weak": int((values < WEAK_R).sum()),
        "median_r": float(np.median(values)) if len(values) else None,
        "counts": counts.tolist(),
    }
