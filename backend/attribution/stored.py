"""Readings of examples that the run published with a feature: shown at once, and without the model.

Of every example at which effects were measured there is what the feature changed after its token; of the strongest
examples of a few features also the colours of both readings.
"""

import math
from dataclasses import dataclass
from typing import Any

from backend.attribution.readings import (
    Causes,
    Effects,
    ExampleReading,
    MovedText,
    StoredExample,
    colour_causes,
    colour_tokens,
    find_example,
)
from backend.html.tokens import token_text
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.features import Feature
from data.artifacts.features import ExampleKind


@dataclass(frozen=True)
class Stored:
    """The published readings of one example."""

    causes: Causes | None
    """None where only the model can tell."""
    effects: Effects

    def of(self, reading: ExampleReading) -> Causes | Effects | None:
        """One of the readings; None where only the model can tell."""
        return self.causes if reading == "causes" else self.effects


def find_stored(sae: OpenSAE, feature: Feature, kind: ExampleKind, rank: int) -> tuple[StoredExample, Stored] | None:
    """An example, as the run read it, with its published readings; None where it has none."""
    record = next((row for row in _readings(sae.run, feature) if kind == "top" and row["rank"] == rank), None)
    if record is None:
        return None
    whole = int(sae.run.record.recipe["tokenize"]["context_length"])
    _, example = find_example(sae, feature.index, kind, rank, whole)
    return example, _present(sae.run, example, record)


def _readings(run: OpenRun, feature: Feature) -> list[dict[str, Any]]:
    rows = range(feature.first_reading, feature.first_reading + feature.num_readings)
    found: list[dict[str, Any]] = run.tables.take("readings", rows).to_pylist() if rows else []
    return found


def _present(run: OpenRun, example: StoredExample, record: dict[str, Any]) -> Stored:
    causes = None
    if record["causes"] is not None:
        causes = colour_causes(example, record["activation"], record["opening"], record["before"], record["causes"])
    changes = record["changes"]
    tokens, scale = colour_tokens(example, [None] * len(example.stretch) if changes is None else changes)
    moved = {name: _moved(run, record, name) for name in ("raised", "lowered")}
    effects = Effects(tokens, scale, changes is not None, record["kl"], moved["raised"], moved["lowered"], 0)
    return Stored(causes, effects)


def _moved(run: OpenRun, record: dict[str, Any], name: str) -> list[MovedText]:
    vocabulary = run.tables.vocabulary
    columns = zip(record[name], record[f"{name}_with"], record[f"{name}_without"], strict=True)
    pairs = [(token, math.exp(log), math.exp(without)) for token, log, without in columns]
    return [MovedText(token, token_text(vocabulary[token]), p, q, p - q) for token, p, q in pairs]
