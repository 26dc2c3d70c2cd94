"""Contents of the artifacts after training, column by column.

A feature is named by the name of its SAE and its index there. Published features of one run stand in one table, one SAE
after the other in the order of the recipe, and `row` is the number of a feature in that table:
row = sae.first_row + index. Everything else that is kept per feature is found by that number, without any search.

Shapes: F features of one SAE, R features of all SAEs of a run, S SAEs, K neighbours, D width of the residual stream.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

ExampleKind = Literal["top", "bottom", "contrast", "interval"]
EXAMPLE_KINDS: tuple[ExampleKind, ...] = ("top", "bottom", "contrast", "interval")
"""In the order in which a feature's examples are stored."""
TOP, BOTTOM, CONTRAST, INTERVAL = range(len(EXAMPLE_KINDS))
"""The number of each kind."""

HISTOGRAM_BINS = 64
HISTOGRAM_STEPS_PER_OCTAVE = 4
HISTOGRAM_LOWEST_OCTAVE = -12

COSINE_BINS = 200
"""Of the distributions of highest cosines, from -1 to 1: a hundredth each."""
NO_RELATIVE = -1.0
"""Stands for the highest cosine of a feature that has no live neighbour in an SAE."""


def histogram_edges(scale: float) -> npt.NDArray[np.float64]:
    """Edges [HISTOGRAM_BINS + 1] of every feature's activation histogram: four bins an octave.

    `scale` is the SAE's `histogram_scale`: the root mean square norm of the residual stream, mean taken off. The first
    bin also counts everything below it, the last everything above.
    """
    octaves = np.arange(HISTOGRAM_BINS + 1) / HISTOGRAM_STEPS_PER_OCTAVE + HISTOGRAM_LOWEST_OCTAVE
    return scale * np.exp2(octaves)


def cosine_edges() -> npt.NDArray[np.float32]:
    """Edges [COSINE_BINS + 1] of the bins; a cosine at an edge counts above it."""
    return (np.arange(COSINE_BINS + 1) / (COSINE_BINS // 2) - 1).astype(np.float32)


def cosine_column(position: int) -> str:
    """Column of `features` with the highest cosine to a live feature of the SAE at `position`."""
    return f"cosine_{position}"


# ---- Artifact of stage `train`: {sae}/cfg.json, {sae}/sae.safetensors and the curve, a list of points

CURVE_FILE = "curve.json"

# ---- Artifact of stage `evaluate`: a JSON object of metrics by name of the SAE, see docs/method.md

METRICS_FILE = "metrics.json"

# ---- Artifact of stage `examples`: {sae}/statistics.arrow and {sae}/examples.arrow

STATISTICS_FILE = "statistics.arrow"
EXAMPLES_FILE = "examples.arrow"

STATISTICS = pa.schema(
    [
        pa.field("index", pa.int32(), nullable=False),
        pa.field("num_active", pa.int64(), nullable=False),  # tokens on which the feature is above 0
        pa.field("density", pa.float32(), nullable=False),  # the same as a share of all tokens counted
        pa.field("max", pa.float32(), nullable=False),  # of the activation, residual-stream units; 0 when dead
        pa.field("mean", pa.float32(), nullable=False),  # over the tokens on which it is active; 0 when dead
        pa.field("histogram", pa.list_(pa.int64(), HISTOGRAM_BINS), nullable=False),  # see histogram_edges
    ]
)

EXAMPLES = pa.schema(
    [
        pa.field(
            "index", pa.int32(), nullable=False
        ),  # of the feature in its SAE; rows are sorted by index, kind, rank
        pa.field("kind", pa.int8(), nullable=False),  # number in EXAMPLE_KINDS
        pa.field("rank", pa.int16(), nullable=False),  # 0 is the strongest (top, interval) or the lowest
        pa.field("band", pa.int8(), nullable=False),  # interval: 0 (lowest) to bands - 1; others: -1
        pa.field("document", pa.int32(), nullable=False),  # row in the corpus's documents
        pa.field("document_id", pa.int64(), nullable=False),
        pa.field("position", pa.int32(), nullable=False),  # of the token that made it an example, in its document
        pa.field("start", pa.int32(), nullable=False),  # position of the window's first token
        pa.field("length", pa.int16(), nullable=False),  # tokens in the window; it ends where its sequence ends
        pa.field("activation", pa.float32(), nullable=False),  # at `position`
        pa.field("pre_activation", pa.float32(), nullable=False),  # at `position`, before the nonlinearity
        pa.field("offsets", pa.list_(pa.int16()), nullable=False),  # of the window's tokens with activation above 0
        pa.field("values", pa.list_(pa.float32()), nullable=False),  # their activations; all other tokens have 0
    ]
)
"""Every token's activation in the window, exactly: the few above zero are listed, the others are zero."""

# ---- Artifact of stage `explain`: {sae}/explanations.arrow

EXPLANATIONS_FILE = "explanations.arrow"

EXPLANATIONS = pa.schema(
    [
        pa.field("index", pa.int32(), nullable=False),
        pa.field("label", pa.string(), nullable=False),  # "" for a dead feature
        pa.field("label_origin", pa.string(), nullable=False),  # "statistics", or the judge that wrote it
        # Share of the strongest examples that it fits, see docs/method.md; null when it says nothing of them
        pa.field("label_score", pa.float32()),
        pa.field("specificity", pa.float32()),  # a judge's score, see docs/method.md; null until one has scored it
        pa.field("promoted", pa.list_(pa.int32()), nullable=False),  # token ids, most promoted first
        pa.field("promoted_logits", pa.list_(pa.float32()), nullable=False),
        pa.field("suppressed", pa.list_(pa.int32()), nullable=False),  # token ids, most suppressed first
        pa.field("suppressed_logits", pa.list_(pa.float32()), nullable=False),
    ]
)

# ---- Artifact of stage `respond`: which features turn a text to their word, see pipeline/influence/responses.py

RESPONSES_FILE = "responses.json"
"""why_none: why nothing was measured, "" when it was; probed: probability of a feature's word after an opening;
written: all texts that were written (fields of `Response`); best: those of them that pages show, confirmed."""

# ---- Artifact of stage `neighbours`: one table over all features of the run, by row

NEIGHBOURS_FILE = "neighbours.arrow"


def neighbours_schema(num_saes: int, k: int) -> pa.Schema:
    """Nearest features by decoder cosine in each SAE, its own included (itself left out), laid out [S, K].

    `indices` are feature indices in the other SAE, -1 where it has fewer than K.
    """
    return pa.schema(
        [
            pa.field("indices", pa.list_(pa.int32(), num_saes * k), nullable=False),
            pa.field("cosines", pa.list_(pa.float32(), num_saes * k), nullable=False),
        ]
    )


# ---- Artifact of stage `project`

MAP_FILE = "map.arrow"

MAP = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # of the feature, see above; dead features are not on the map
        pa.field("x", pa.float32(), nullable=False),
        pa.field("y", pa.float32(), nullable=False),
    ]
)
