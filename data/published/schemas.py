"""Schemas of the published tables."""

from typing import Literal

import pyarrow as pa

from data.artifacts.candidates import LABEL_CANDIDATES, TRIED
from data.artifacts.completeness import CANDIDATES
from data.artifacts.effects import EFFECTS, READINGS
from data.artifacts.features import COSINE_BINS, EXAMPLE_KINDS, EXAMPLES, EXPLANATIONS, STATISTICS, cosine_column
from data.artifacts.neurons import NEURONS
from data.artifacts.scores import JUDGED, SCORES
from data.artifacts.strengths import STRENGTHS

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
            pa.field("live", pa.bool_(), nullable=False),  # neither dead, rare nor negligible, see FeatureKinds
            pa.field("rare", pa.bool_(), nullable=False),  # active, on fewer tokens than the recipe's rare_tokens
            pa.field("negligible", pa.bool_(), nullable=False),  # see data.artifacts.features.NEGLIGIBLE_SHARE
            *[STATISTICS.field(name) for name in ("histogram", "num_above_floor", "band_counts")],
            *[f for f in EXPLANATIONS if f.name != "index"],
            pa.field("interest", pa.float32()),  # see pipeline/publishing/interest.py; null without a label's score
            pa.field("at_start", pa.float32(), nullable=False),  # share of its top examples at the start of a sequence
            *[f for f in EFFECTS if f.name != "index"],
            pa.field("first_reading", pa.int64(), nullable=False),  # row in the file of readings
            *[f for f in NEURONS if f.name != "index"],  # examples by row in the file of them
            # Times its maximum: that of its best text that responds; null where none does, or none was written.
            pa.field("best_strength", pa.float32()),
            # Of its curve over strengths: the best strength and the lowest at which the text breaks (null where no
            # strength is or does, or it has no curve), the tokens whose probability was measured, and their origin.
            pa.field("peak_strength", pa.float32()),
            pa.field("break_strength", pa.float32()),
            pa.field("strength_words", pa.list_(pa.int32()), nullable=False),
            pa.field("strength_words_from", pa.string(), nullable=False),
            pa.field("first_strength", pa.int64(), nullable=False),  # row in the file of strengths
            pa.field("num_strengths", pa.int16(), nullable=False),  # its rows there; 0: not measured
            pa.field("first_example", pa.int64(), nullable=False),  # row in table `examples`
            pa.field("first_judged", pa.int64(), nullable=False),  # row in the file of judged activations
            pa.field("num_judged", pa.int32(), nullable=False),
            pa.field("first_score", pa.int64(), nullable=False),  # row in the file of scores
            pa.field("num_scores", pa.int16(), nullable=False),
            pa.field("first_candidate", pa.int64(), nullable=False),  # row in the file of candidates for labels
            pa.field("num_candidates", pa.int16(), nullable=False),
            pa.field("first_tried", pa.int64(), nullable=False),  # row in the file of texts on which they were tried
            pa.field("num_tried", pa.int16(), nullable=False),
            pa.field("num_examples", pa.list_(pa.int16(), len(EXAMPLE_KINDS)), nullable=False),  # by kind
            *[pa.field(axis, pa.float32()) for axis in ("x", "y")],  # its place on the map; null when it is dead
            # Highest cosine with a live feature of each SAE (its own: another feature), or NO_RELATIVE.
            *[pa.field(cosine_column(position), pa.float32(), nullable=False) for position in range(num_saes)],
            pa.field("vector", pa.list_(pa.float32(), width), nullable=False),  # decoder direction, norm 1
        ]
    )


def is_row_column(table: str, column: str) -> bool:
    """Whether the Arrow file of a table has this column of it, see data/published/rows.py."""
    if table == "search":
        return column in SEARCH_ROW
    return table != "features" or (column != "vector" and not column.startswith("cosine_"))


def splitting_schema(width: int, num_saes: int) -> pa.Schema:
    """Table `splitting`: one row per SAE of the run, in their order: what its live features have in common."""
    return pa.schema(
        [
            pa.field("sae", pa.string(), nullable=False),
            pa.field("num_live", pa.int64(), nullable=False),
            pa.field("num_minor", pa.int64(), nullable=False),  # rare or negligible
            pa.field("mean", pa.list_(pa.float32(), width), nullable=False),  # of their decoder directions
            # Their highest cosines with the live features of each SAE, counted in bins: [S, COSINE_BINS].
            pa.field("counts", pa.list_(pa.int64(), num_saes * COSINE_BINS), nullable=False),
            pa.field("minor_counts", pa.list_(pa.int64(), num_saes * COSINE_BINS), nullable=False),  # of minor ones
        ]
    )


PUBLISHED_EXAMPLES = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # of the feature in table `features`
        *[field for field in EXAMPLES if field.name != "index"],
    ]
)
"""Table `examples`, sorted as the features are, then by kind and rank."""

PUBLISHED_READINGS = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # of the feature in table `features`
        *[field for field in READINGS if field.name != "index"],
    ]
)
"""File `readings`, sorted as the features are, then by rank."""

PUBLISHED_JUDGED, PUBLISHED_SCORES, PUBLISHED_STRENGTHS, PUBLISHED_LABEL_CANDIDATES, PUBLISHED_TRIED = (
    pa.schema([pa.field("row", pa.int64(), nullable=False), *[field for field in schema if field.name != "index"]])
    for schema in (JUDGED, SCORES, STRENGTHS, LABEL_CANDIDATES, TRIED)
)
"""Files `judged`, `scores`, `strengths`, `candidates` and `tried`, sorted as in data/artifacts/; `row` is that of the
feature."""

PUBLISHED_CANDIDATES = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # of the feature in table `features`
        *[field for field in CANDIDATES if field.name != "index"],
    ]
)
"""File `concept_features`, sorted by SAE, then as in data/artifacts/completeness.py."""

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
CHAT_CHUNKS = CHUNKS.append(pa.field("roles", pa.list_(pa.uint8()), nullable=False))
"""The same of a corpus of conversations: `roles` is that of each token, see ROLES and COUNTED in
data/artifacts/corpus.py."""

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

MAP_REGIONS = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("x", pa.float32(), nullable=False),  # of its middle
        pa.field("y", pa.float32(), nullable=False),
        pa.field("side", pa.float32(), nullable=False),  # pixels of the world's side from which on it has room
        pa.field("num_features", pa.int32(), nullable=False),  # that have its first word there
    ]
)

# ---- Search

SearchField = Literal["label", "peaks", "promoted", "examples"]
SEARCH_FIELDS: tuple[SearchField, ...] = ("label", "peaks", "promoted", "examples")
"""Fields by which a feature can be found."""

_PACKED = {b"lance-encoding:compression": b"zstd"}
_TEXTS = pa.list_(pa.field("item", pa.string(), metadata=_PACKED))

SEARCH = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # of the feature in table `features`, and here
        pa.field("sae", pa.string(), nullable=False),
        pa.field("alive", pa.bool_(), nullable=False),
        *[pa.field(kind, pa.bool_(), nullable=False) for kind in ("live", "rare", "negligible")],
        pa.field("density", pa.float32(), nullable=False),
        pa.field("prior", pa.float32(), nullable=False),  # 0 to 1: how often and how strongly it is active
        pa.field("texts", _TEXTS, nullable=False),  # around its strongest tokens, the strongest first
        pa.field("peak_words", _TEXTS, nullable=False),  # that hold the peak of each top example, the strongest first
        pa.field("beside_words", _TEXTS, nullable=False),  # and those on either side of each, with a space between
        *[pa.field(name, _TEXTS, nullable=False) for name in SEARCH_FIELDS],  # terms, see data.published.terms
    ]
)
"""Table `search`: the terms by which every feature is found, with an index on each column that is searched."""

SEARCH_ROW = ("prior", "texts", "peak_words", "beside_words")
"""Its columns by which what was found is ranked and shown: copied to a file of rows, see data/published/rows.py."""


def published_meanings_schema(width: int) -> pa.Schema:
    """Table `meanings`: the vectors of live features (data.artifacts.features.meanings_schema), by which the search
    finds what means the same; there is none where the recipe turns it off."""
    return pa.schema(
        [
            pa.field("row", pa.int64(), nullable=False),  # of the feature in table `features`
            pa.field("sae", pa.string(), nullable=False),
            pa.field("density", pa.float32(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), width), nullable=False),
        ]
    )
