"""Artifact of stage `strengths`, column by column: {sae}/curves.arrow and {sae}/strengths.arrow.

What features that are held do, at one strength after the other; how it is measured: pipeline/influence/strengths.py.
"""

import pyarrow as pa

CURVES_FILE = "curves.arrow"
STRENGTHS_FILE = "strengths.arrow"

CURVES = pa.schema(
    [
        pa.field("index", pa.int32(), nullable=False),  # of the feature; rows are sorted by it
        pa.field("random", pa.bool_(), nullable=False),  # drawn at random; else one that responds when it is held
        pa.field("words", pa.list_(pa.int32()), nullable=False),  # token ids whose probability is measured
        pa.field("words_from", pa.string(), nullable=False),  # where they are from: effects or peaks
        pa.field("peak", pa.float32()),  # the best strength; null where none brings it nearer to what it is about
        pa.field("breaks", pa.float32()),  # the lowest strength above 0 at which the text breaks; null for none
    ]
)

STRENGTHS = pa.schema(
    [
        pa.field("index", pa.int32(), nullable=False),  # rows are sorted by it, then by strength, the null one first
        pa.field("strength", pa.float32()),  # times its highest activation; null where nothing is held
        pa.field("probability", pa.float32(), nullable=False),  # of its words together as the next token
        pa.field("perplexity", pa.float32(), nullable=False),  # of the next token, for the model with nothing held
        # Of the texts that were written, one for each opening; null or none where none was:
        pa.field("text_perplexity", pa.float32()),  # for the model with nothing held
        pa.field("repeats", pa.float32()),  # share of them that repeat themselves
        pa.field("score", pa.float32()),  # the judge's answer, 0 to 3: whether they are about the label; the mean
        pa.field("texts", pa.list_(pa.string()), nullable=False),  # without the openings, in their order
        pa.field("broken", pa.bool_(), nullable=False),  # whether it is language no more
    ]
)
