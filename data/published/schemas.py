"""Schemas of the published tables."""

from typing import Literal

import pyarrow as pa

from data.artifacts.features import COSINE_BINS, EXAMPLE_KINDS, EXAMPLES, EXPLANATIONS, STATISTICS, cosine_column

TOKENS_PER_CHUNK = 256
"""Documents are published in chunks of this many tokens, so that a window costs one or two rows."""


# ---- Published in LanceDB


def features_schema(width: int, num_saes: int) -> pa.Schema:
    """Table `features`: one row per feature of the run."""
    return pa.schema(
        [
            pa.field("sae", pa.string(), nullable=False),
            pa.field("index", pa.int32(), nullable=False),
            *[STATISTICS.field(name) for name in ("num_active", "density", "max", "mean")],
            pa.field("squared_share", pa.float64(), nullable=False),  # of its SAE's squared activations, summed
            pa.field("negligible", pa.bool_(), nullable=False),  # see data.artifacts.features.NEGLIGIBLE_SHARE
            *[STATISTICS.field(name) for name in ("histogram", "num_above_floor", "band_counts")],
            *[f for f in EXPLANATIONS if f.name != "index"],
            pa.field("interest", pa.float32()),  # see pipeline/publishing/interest.py; null without a label's score
            pa.field("at_start", pa.float32(), nullable=False),  # share of its top examples at the start of a sequence
            pa.field("first_example", pa.int64(), nullable=False),  # row in table `examples`
            pa.field("num_examples", pa.list_(pa.int16(), len(EXAMPLE_KINDS)), nullable=False),  # by kind
            *[pa.field(axis, pa.float32()) for axis in ("x", "y")],  # its place on the map; null unless it is notable
            # Highest cosine with a notable feature of each SAE (its own: another feature), or NO_RELATIVE.
            *[pa.field(cosine_column(position), pa.float32(), nullable=False) for position in range(num_saes)],
            pa.field("vector", pa.list_(pa.float32(), width), nullable=False),  # decoder direction, norm 1
        ]
    )


def is_feature_row(column: str) -> bool:
    """Whether the Arrow file of features has this column of the table, see data/published/rows.py."""
    return column != "vector" and not column.startswith("cosine_")


def splitting_schema(width: int, num_saes: int) -> pa.Schema:
    """Table `splitting`: one row per SAE of the run, in their order: what its notable features have in common."""
    return pa.schema(
        [
            pa.field("sae", pa.string(), nullable=False),
            pa.field("num_notable", pa.int64(), nullable=False),
            pa.field("mean", pa.list_(pa.float32(), width), nullable=False),  # of their decoder directions
            # Their highest cosines with the notable features of each SAE, counted in bins: [S, COSINE_BINS].
            pa.field("counts", pa.list_(pa.int64(), num_saes * COSINE_BINS), nullable=False),
        ]
    )


PUBLISHED_EXAMPLES = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # of the feature in table `features`
        *[field for field in EXAMPLES if field.name != "index"],
    ]
)
"""Table `examples`, sorted as the features are, then by kind and rank."""

PUBLISHED_DOCUMENTS = pa.schema(
    [
        pa.field("document_id", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("meta", pa.string(), nullable=False),
        pa.field("num_tokens", pa.int32(), nullable=False),
        pa.field("first_chunk", pa.int64(), nullable=False),  # row in table `chunks`
    ]
)
"""Table `documents`: all documents of the corpus, in corpus order (so EXAMPLES.document is its row)."""

CHUNKS = pa.schema([pa.field("tokens", pa.list_(pa.int32()), nullable=False)])
"""Table `chunks`: TOKENS_PER_CHUNK tokens a row (a document's last has fewer); position p of a document is token
p % TOKENS_PER_CHUNK of chunk first_chunk + p // TOKENS_PER_CHUNK."""

VOCABULARY = pa.schema([pa.field("text", pa.binary(), nullable=False)])
"""Table `vocabulary`: the bytes that each token stands for, by token id. A token may be part of a character."""

# ---- Published map, see data/published/maps.py

MAP_POINTS = pa.schema(
    [
        pa.field("code", pa.uint32(), nullable=False),  # of its cell at the deepest level
        pa.field("x", pa.float32(), nullable=False),
        pa.field("y", pa.float32(), nullable=False),
        pa.field("index", pa.int32(), nullable=False),  # of the feature in its SAE
        pa.field("density", pa.float32(), nullable=False),
        pa.field("label_score", pa.float32(), nullable=False),  # NaN where the feature has none
    ]
)
"""Columns of a point that a map draws. Everything else is asked for when somebody points at it."""

MAP_CELLS = pa.schema(
    [
        pa.field("code", pa.uint32(), nullable=False),
        pa.field("count", pa.int32(), nullable=False),  # of the points in it
        pa.field("log_density", pa.float32(), nullable=False),  # mean of log10 of their densities
        pa.field("label_score", pa.float32(), nullable=False),  # mean over those that have one, else NaN
    ]
)

# ---- Search

SearchField = Literal["label", "promoted", "examples"]
SEARCH_FIELDS: tuple[SearchField, ...] = ("label", "promoted", "examples")
"""Fields by which a feature can be found."""

_PACKED = {b"lance-encoding:compression": b"zstd"}
_TEXTS = pa.list_(pa.field("item", pa.string(), metadata=_PACKED))

SEARCH = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # of the feature in table `features`, and here
        pa.field("sae", pa.string(), nullable=False),
        pa.field("alive", pa.bool_(), nullable=False),
        pa.field("negligible", pa.bool_(), nullable=False),
        pa.field("density", pa.float32(), nullable=False),
        pa.field("texts", _TEXTS, nullable=False),  # around its strongest tokens, the strongest first
        *[pa.field(name, _TEXTS, nullable=False) for name in SEARCH_FIELDS],  # terms, see data.published.terms
    ]
)
"""Table `search`: the terms by which every feature is found, with an index on each column that is searched."""
