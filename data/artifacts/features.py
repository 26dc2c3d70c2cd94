"""Contents of the artifacts after training, column by column.

A feature is named by the name of its SAE and its index there. Published features of one run stand in one table, one SAE
after the other in the order of the recipe, and `row` is the number of a feature in that table:
row = sae.first_row + index. Everything else that is kept per feature is found by that number, without any search.

Shapes: F features of one SAE, R features of all SAEs of a run, S SAEs, K neighbours, D width of the residual stream.
"""

from typing import Literal, NamedTuple

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

FLOOR_OCTAVE = -10
"""Where `bottom` begins: at the scale of the histogram times 2 to this power, see bottom_floor."""
FLOOR_BIN = (FLOOR_OCTAVE - HISTOGRAM_LOWEST_OCTAVE) * HISTOGRAM_STEPS_PER_OCTAVE
"""The histogram's first bin that lies above the floor."""

NEGLIGIBLE_SHARE = 1 / 1000
"""A feature that is active is negligible when its squared activations, summed over all tokens counted, are less than
this part of an equal share: below NEGLIGIBLE_SHARE / num_features of the sum over all features of its SAE."""

MINOR_NEIGHBOURS = 20
"""Neighbours that are rare or negligible are kept up to this number in each SAE, beside the live ones."""

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


def bottom_floor(scale: float) -> float:
    """The lowest activation that `bottom` shows, in the stream's own units; an edge of the histogram's bins.

    A thousandth of the stream's norm (`scale`, see histogram_edges): what lies between zero and it is rounding for the
    language model in bfloat16, and tells a reader nothing.
    """
    return scale * 2.0**FLOOR_OCTAVE


def squared_shares(sum_squares_F: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Each feature's share of the sum of its SAE's squared activations [F]; 0 when all are dead."""
    total = float(sum_squares_F.sum())
    return sum_squares_F / total if total > 0 else np.zeros_like(sum_squares_F)


def negligible_features(sum_squares_F: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which features of an SAE are active and do next to nothing, see NEGLIGIBLE_SHARE [F]."""
    small_F = squared_shares(sum_squares_F) < NEGLIGIBLE_SHARE / len(sum_squares_F)
    return small_F & (sum_squares_F > 0)


class FeatureKinds(NamedTuple):
    """Masks of the features of an SAE that lists leave out unless they are asked for them, each [F].

    A feature that is none of these is live. The live ones alone are laid out on the map, are neighbours and relatives
    by default, and count where sizes are compared.
    """

    dead_F: npt.NDArray[np.bool_]
    """Active on no token."""
    rare_F: npt.NDArray[np.bool_]
    """Active on some tokens, on fewer than the recipe's `examples.rare_tokens`: too few to tell what it is about."""
    negligible_F: npt.NDArray[np.bool_]
    """See NEGLIGIBLE_SHARE. One may be rare too."""

    @property
    def live_F(self) -> npt.NDArray[np.bool_]:
        return ~(self.dead_F | self.rare_F | self.negligible_F)

    @property
    def minor_F(self) -> npt.NDArray[np.bool_]:
        """Rare or negligible: what the switch `minor` brings back where a feature must have been active."""
        return (self.rare_F | self.negligible_F) & ~self.dead_F


def feature_kinds(
    num_active_F: npt.NDArray[np.int64], sum_squares_F: npt.NDArray[np.float64], rare_tokens: int
) -> FeatureKinds:
    """The features of an SAE by how much they say: tokens on which each is active, and its squared activations."""
    dead_F = num_active_F == 0
    return FeatureKinds(dead_F, ~dead_F & (num_active_F < rare_tokens), negligible_features(sum_squares_F))


def read_kinds(statistics: pa.Table, rare_tokens: int) -> FeatureKinds:
    """The same from an artifact of stage `examples`, see STATISTICS."""
    return feature_kinds(statistics["num_active"].to_numpy(), statistics["sum_squares"].to_numpy(), rare_tokens)


class FeatureCounts(NamedTuple):
    """How many features of an SAE are of each kind; together all. One that is rare and negligible counts as rare."""

    num_live: int
    num_rare: int
    num_negligible: int
    num_dead: int
    negligible_share: float
    """Of the sum of squared activations, by those counted as negligible together."""
    rare_tokens: int
    """A rare feature is active on fewer tokens than this."""


def count_features(statistics: pa.Table, rare_tokens: int) -> FeatureCounts:
    """The counts of an SAE from its statistics, see STATISTICS."""
    kinds, squares_F = read_kinds(statistics, rare_tokens), statistics["sum_squares"].to_numpy()
    negligible_F = kinds.negligible_F & ~kinds.rare_F
    return FeatureCounts(
        num_live=int(kinds.live_F.sum()),
        num_rare=int(kinds.rare_F.sum()),
        num_negligible=int(negligible_F.sum()),
        num_dead=int(kinds.dead_F.sum()),
        negligible_share=float(squared_shares(squares_F)[negligible_F].sum()),
        rare_tokens=rare_tokens,
    )


def cosine_edges() -> npt.NDArray[np.float32]:
    """Edges [COSINE_BINS + 1] of the bins; a cosine at an edge counts above it."""
    return (np.arange(COSINE_BINS + 1) / (COSINE_BINS // 2) - 1).astype(np.float32)


def cosine_column(position: int) -> str:
    """Column of `features` with the highest cosine to a live feature of the SAE at `position`."""
    return f"cosine_{position}"


# ---- Artifact of stage `train`: {sae}/cfg.json, {sae}/sae.safetensors and the curve, a list of points

CURVE_FILE = "curve.json"

# ---- Artifact of stage `evaluate`: a JSON object of metrics by name of the SAE, see docs/method.md; and what is active
# in the held-out text on which labels are tried, in counted.npy and {sae}/activations.arrow

METRICS_FILE = "metrics.json"
COUNTED_FILE = "counted.npy"
"""Whether each token of that text counts and is no attention sink: bool [tokens], sequence after sequence."""
ACTIVATIONS_FILE = "activations.arrow"
ACTIVATIONS = pa.schema(
    [
        pa.field("tokens", pa.list_(pa.int32()), nullable=False),
        pa.field("values", pa.list_(pa.float32()), nullable=False),
    ]
)
"""Per feature the tokens on which it is active, ascending numbers in that text, and its activations there."""

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
        pa.field("sum_squares", pa.float64(), nullable=False),  # of the activation over all tokens counted
        pa.field("histogram", pa.list_(pa.int64(), HISTOGRAM_BINS), nullable=False),  # see histogram_edges
        pa.field("num_above_floor", pa.int64(), nullable=False),  # tokens on which it reaches bottom_floor
        # Tokens in each of the recipe's bands between 0 and the maximum, the lowest first: the number itself where it
        # is below the recipe's `per_band`, else at most the number.
        pa.field("band_counts", pa.list_(pa.int64()), nullable=False),
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
        # Other places of the text that was read whose token stands in the same context, see data/artifacts/contexts.py:
        # copies, of which one alone is an example.
        pa.field("repeats", pa.int32(), nullable=False),
    ]
)
"""Every token's activation in the window, exactly: the few above zero are listed, the others are zero."""

# ---- Artifact of stage `explain`: {sae}/explanations.arrow and {sae}/held_out.arrow

EXPLANATIONS_FILE = "explanations.arrow"
LABEL_LEVELS = (0.0, 0.2, 0.4, 0.6, 0.8)
"""Parts of a feature's maximum at and above which the recall of its label is told."""

EXPLANATIONS = pa.schema(
    [
        pa.field("index", pa.int32(), nullable=False),
        pa.field("label", pa.string(), nullable=False),  # "" for a dead feature, and where no rule tells enough
        pa.field("label_origin", pa.string(), nullable=False),  # "statistics", or the judge that wrote it
        # Of the best rule on text that it was not made from, see docs/method.md. A label is a rule with a score above a
        # threshold; null, and empty, where the feature is unlabelled.
        pa.field("label_score", pa.float32()),  # of precision and recall of squares
        pa.field(
            "label_precision", pa.float32()
        ),  # share of the tokens that it speaks of on which the feature is active
        pa.field("label_recall", pa.float32()),  # share of the sum of activations on these tokens
        pa.field("label_said", pa.int32()),  # tokens that it speaks of
        # Share of the active tokens at or above each of LABEL_LEVELS, in parts of the maximum, that it speaks of; null
        # where there is no such token
        pa.field("label_levels", pa.list_(pa.float32()), nullable=False),
        pa.field("label_rule", pa.string(), nullable=False),  # JSON, see pipeline/labels/rule.py; "" without one
        pa.field("label_tested", pa.string(), nullable=False),  # on "held-out" text, or also on "training" text
        pa.field(
            "top_words", pa.list_(pa.string()), nullable=False
        ),  # words it is strongest on; none of a dead feature
        pa.field("specificity", pa.float32()),  # null here; stage `score` has it, and `publish` puts it in
        pa.field("promoted", pa.list_(pa.int32()), nullable=False),  # token ids, most promoted first
        pa.field("promoted_logits", pa.list_(pa.float32()), nullable=False),
        pa.field("suppressed", pa.list_(pa.int32()), nullable=False),  # token ids, most suppressed first
        pa.field("suppressed_logits", pa.list_(pa.float32()), nullable=False),
    ]
)

HELD_OUT_FILE = "held_out.arrow"
HELD_OUT = pa.schema([pa.field("tokens", pa.list_(pa.int32()), nullable=False)])
"""Per feature the held-out tokens on which it is active, ascending numbers that all SAEs of the run share."""

# ---- Artifact of stage `embed`: the vectors of live features, by row; no file where the recipe turns it off

MEANINGS_FILE = "meanings.arrow"


def meanings_schema(width: int) -> pa.Schema:
    """What each live feature is about, as a sentence encoder reads its label and examples; sorted by row."""
    return pa.schema(
        [
            pa.field("row", pa.int64(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), width), nullable=False),  # norm 1
        ]
    )


# ---- Artifact of stage `neighbours`: one table over all features of the run, by row

NEIGHBOURS_FILE = "neighbours.arrow"


def neighbours_schema(num_saes: int, k: int) -> pa.Schema:
    """Nearest features by decoder cosine in each SAE, its own included (itself left out): live ones, laid out [S, K],
    and apart from them those that are rare or negligible [S, min(K, MINOR_NEIGHBOURS)]. Dead ones are nobody's.

    `indices` are feature indices in the other SAE, -1 where it has fewer.
    """
    few = min(k, MINOR_NEIGHBOURS)
    columns = [
        ("indices", pa.int32(), k),
        ("cosines", pa.float32(), k),
        ("minor_indices", pa.int32(), few),
        ("minor_cosines", pa.float32(), few),
    ]
    return pa.schema([pa.field(name, pa.list_(type_, num_saes * n), nullable=False) for name, type_, n in columns])


# ---- Artifact of stage `project`

MAP_FILE = "map.arrow"

MAP = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # of the feature, see above; all but the dead ones
        pa.field("x", pa.float32(), nullable=False),
        pa.field("y", pa.float32(), nullable=False),
    ]
)
