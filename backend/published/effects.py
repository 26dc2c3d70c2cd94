"""Measured effects of features on the next token, as the run published them."""

from dataclasses import dataclass
from typing import Any

from backend.html.formats import count
from backend.html.tokens import token_text
from backend.published.catalogue import OpenRun

EFFECT_COLUMNS = ["raised", "raised_change", "lowered", "lowered_change", "num_measured"]
LEAST_CHANGE = 0.0005
"""A smaller change reads as 0.0 points, and is not shown."""


@dataclass(frozen=True, slots=True)
class TokenChange:
    """A token that a feature makes more or less likely to come next."""

    token: int
    text: str
    change: float
    """Of its probability, by the feature: the mean over the examples that were measured."""


def effect_fields(run: OpenRun, record: dict[str, Any]) -> dict[str, Any]:
    """The fields of a FeatureSummary from the columns EFFECT_COLUMNS."""
    changes = {name: token_changes(run, record[name], record[f"{name}_change"]) for name in ("raised", "lowered")}
    return {**changes, "num_measured": record["num_measured"]}


def token_changes(run: OpenRun, tokens: list[int], changes: list[float]) -> list[TokenChange]:
    """Tokens with the changes of their probability, those that are large enough to be shown."""
    vocabulary = run.tables.vocabulary
    pairs = zip(tokens, changes, strict=True)
    return [TokenChange(t, token_text(vocabulary[t]), change) for t, change in pairs if abs(change) >= LEAST_CHANGE]


def why_not_measured(run: OpenRun, kind: str) -> str:
    """The reason why a feature's effects were not measured. kind: rare or negligible; "" for a live one."""
    if why_none := run.record.corpus.get("effects", {}).get("why_none", ""):
        return str(why_none)
    if kind:
        return f"It is {kind}, and effects are measured of live features."
    most = run.record.recipe.get("effects", {}).get("features", 0)
    return (
        f"It is not among the {count(most)} features measured: those that respond when they are held, and the most "
        "active of each SAE."
    )


@dataclass(frozen=True, slots=True)
class KnownReading:
    """An example of which the run published what the feature changed there."""

    rank: int
    """Among the top examples."""
    measured: bool
    """Whether the feature's effects are the mean over it and others."""
    causes: bool
    """Whether it is known too what made the feature fire."""


def known_readings(run: OpenRun, first: int, count: int) -> list[KnownReading]:
    """Of a feature, by row and number of its readings."""
    columns = ["rank", "measured", "activation"]
    rows = run.tables.take("readings", range(first, first + count), columns).to_pylist() if count else []
    return [KnownReading(row["rank"], row["measured"], row["activation"] is not None) for row in rows]
