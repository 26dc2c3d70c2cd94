"""Artifact of stage `effects`, column by column: {sae}/effects.arrow and {sae}/readings.arrow.

How they are measured: pipeline/influence/effects.py.
"""

import pyarrow as pa

EFFECTS_FILE = "effects.arrow"
READINGS_FILE = "readings.arrow"

EFFECTS = pa.schema(
    [
        pa.field("index", pa.int32(), nullable=False),
        # Token ids whose probability it raises most by ablation, the mean over its measured examples; the most first.
        pa.field("raised", pa.list_(pa.int32()), nullable=False),  # none where it was not measured
        pa.field("raised_change", pa.list_(pa.float32()), nullable=False),  # of the probability, above 0
        pa.field("lowered", pa.list_(pa.int32()), nullable=False),
        pa.field("lowered_change", pa.list_(pa.float32()), nullable=False),  # below 0
        pa.field("num_measured", pa.int16(), nullable=False),  # examples that these are the mean of; 0: not measured
        pa.field("num_readings", pa.int16(), nullable=False),  # its rows in readings
    ]
)

_IDS, _LOGS = pa.list_(pa.int32()), pa.list_(pa.float32())

READINGS = pa.schema(
    [
        pa.field("index", pa.int32(), nullable=False),  # of the feature; rows are sorted by it, then by rank
        pa.field("rank", pa.int16(), nullable=False),  # of the example among its top ones
        pa.field("measured", pa.bool_(), nullable=False),  # whether it is one of those that effects are the mean of
        pa.field("kl", pa.float32(), nullable=False),  # of the next token as it is from that without the feature, nats
        pa.field("raised", _IDS, nullable=False),  # token ids that it raises most after the example's token
        pa.field("raised_with", _LOGS, nullable=False),  # their log-probabilities as the model is
        pa.field("raised_without", _LOGS, nullable=False),  # and with the feature ablated at that token
        pa.field("lowered", _IDS, nullable=False),
        pa.field("lowered_with", _LOGS, nullable=False),
        pa.field("lowered_without", _LOGS, nullable=False),
        # Null but for the features whose examples are coloured:
        pa.field("activation", pa.float32()),  # in float32 arithmetic
        pa.field("opening", pa.float32()),  # what the opening token adds to it,
        pa.field("before", pa.float32()),  # the tokens between that and the window together,
        pa.field("causes", _LOGS),  # and each token of the window up to the example's own
        pa.field("changes", _LOGS),  # of the log-probability of each token of the window by the feature everywhere
    ]
)
