"""Typed reads of published features. Each takes a fixed number of reads, however many features there are."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from backend.html.tokens import token_text, visible_text
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.corrections import Correction
from backend.published.effects import EFFECT_COLUMNS, TokenChange, effect_fields
from data.artifacts.features import EXAMPLE_KINDS, ExampleKind, histogram_edges

SUMMARY = [
    "sae",
    "index",
    "label",
    "label_origin",
    "label_score",
    "label_precision",
    "label_recall",
    "top_words",
    "specificity",
    "num_active",
    "density",
    "max",
    "mean",
    "squared_share",
    "rare",
    "negligible",
    "interest",
    "best_strength",
    "peak_strength",
    "break_strength",
    "highest_r",
    *EFFECT_COLUMNS,
]
NOT_MINOR = "live"
"""The condition in SQL, on `features` and on `search`, that leaves out what lists, search and random features leave out
by default, see FeatureSummary.minor."""
TITLE_WORDS = 3
"""Words that stand for a feature without a label."""
DETAILS = [
    *SUMMARY,
    "label_said",
    "label_levels",
    "label_rule",
    "label_tested",
    "histogram",
    "num_above_floor",
    "band_counts",
    "at_start",
    "promoted",
    "promoted_logits",
    "suppressed",
    "suppressed_logits",
    "first_example",
    "num_examples",
    "first_reading",
    "num_readings",
    "first_judged",
    "num_judged",
    "first_score",
    "num_scores",
    "first_candidate",
    "num_candidates",
    "first_tried",
    "num_tried",
    "x",
    "y",
]


OWN_COLUMNS = ["label_said", "label_levels", "label_rule", "label_tested", "num_above_floor", "at_start", "band_counts"]
"""Those that stand in a Feature as they are in the table."""
SCORE_COLUMNS = DETAILS[DETAILS.index("first_judged") : DETAILS.index("x")]
"""Those that lead to what judges say of a feature."""


@dataclass(frozen=True, slots=True)
class FeatureSummary:
    """A feature in a list."""

    model: str
    sae: str
    index: int
    label: str
    """Ours; "" for a dead feature, and where nothing tells well enough where it is active."""
    owner_label: str
    """The label that an owner of this server gave it, which stands first; "" without one."""
    label_origin: str
    label_score: float | None
    """How well it tells where the feature is active, on text it was not made from, see docs/method.md; None without
    a label, as the next two are."""
    label_precision: float | None
    """Share of the tokens that the label speaks of on which the feature is active."""
    label_recall: float | None
    """Share of its activation, summed, that lies on these tokens."""
    top_words: list[str]
    """Words that it is strongest on; none of a dead feature."""
    specificity: float | None
    """A judge's score of how well it keeps to its label over the range of its activations, 0 to 1; None when none has
    scored it. Which judge, and how far it can be trusted: backend/published/scores.py."""
    num_active: int
    """Tokens on which it is above 0."""
    density: float
    """The same as a share of all tokens counted."""
    max: float
    """Highest activation, in the residual stream's units."""
    mean: float
    """Over the tokens on which it is active."""
    squared_share: float
    """Its share of the sum of its SAE's squared activations."""
    rare: bool
    """Active on fewer tokens than the recipe's `examples.rare_tokens`, and on some."""
    negligible: bool
    """Active, and next to nothing of that sum: see data.artifacts.features.NEGLIGIBLE_SHARE."""
    raised: list[TokenChange]
    """Tokens that it makes more likely to come next, the most first, measured by ablation; none where not measured."""
    lowered: list[TokenChange]
    num_measured: int
    """Examples that these are the mean over; 0 where it was not measured."""
    best_strength: float | None
    """Times its highest activation: where a text of the run moved most to what it is about; None where none did, or
    none was written."""
    peak_strength: float | None
    """Times its highest activation: the best strength of its curve, see backend/published/strengths.py; None where none
    is, or none was measured."""
    break_strength: float | None
    """The lowest strength of its curve at which the text breaks; None where none does, or none was measured."""
    highest_r: float | None
    """Its highest |r| with a neuron of the model; None where it was not compared, or is active too rarely for it."""
    interest: float | None
    """label_score x max x the share of its top examples on words that tell something x the share of them beyond the
    start of texts, see pipeline/publishing/interest.py; None when its label has no score."""

    @property
    def href(self) -> str:
        """Address of its page."""
        return f"/{self.model}/{self.sae}/{self.index}"

    @property
    def name(self) -> str:
        """model/sae/index"""
        return self.href[1:]

    @property
    def dead(self) -> bool:
        return self.num_active == 0

    @property
    def minor(self) -> bool:
        """Whether it is not live: lists, the map, search, neighbours and random features leave it out unless asked."""
        return self.dead or self.rare or self.negligible

    @property
    def kind(self) -> str:
        """What it is called where it is minor: dead, rare or negligible; "" for a live one."""
        return "dead" if self.dead else "rare" if self.rare else "negligible" if self.negligible else ""

    @property
    def title(self) -> str:
        """Its label, the owner's before ours, or what to call it without one."""
        return self.owner_label or self.label or unlabelled_title(self.index, self.top_words, dead=self.dead)


@dataclass(frozen=True, slots=True)
class TokenWeight:
    """A token whose logit a feature raises or lowers."""

    token: int
    text: str
    logit: float
    """Decoder direction through the final norm's scale and the unembedding."""


@dataclass(frozen=True, slots=True)
class Feature(FeatureSummary):
    """One feature with everything about it except its examples and neighbours."""

    histogram: list[int]
    """Tokens in each bin. The first also counts everything below it, the last everything above."""
    histogram_edges: list[float]
    """Of the bins, one more than there are."""
    label_said: int | None
    """Tokens that its label speaks of, in the text that the label was tried on."""
    label_levels: list[float | None]
    """Share of its active tokens at or above each of LABEL_LEVELS that the label speaks of; None without such."""
    label_rule: str
    """The label as a rule, in JSON, see pipeline/labels/rule.py; "" without one."""
    label_tested: str
    """"held-out" for text held out of training alone, "training" when also on training text the label was not made
    from; "" without a label."""
    owner_note: str
    """What an owner of this server noted on it; "" without a note."""
    num_above_floor: int
    """Tokens on which it reaches the floor of `bottom`, see data.artifacts.features.bottom_floor."""
    at_start: float
    """Share of its top examples that lie at the start of what the model read in one piece."""
    band_counts: list[int]
    """Tokens in each band of its range, the lowest first: exact where there are fewer than examples asked for, else at
    most as many as there are."""
    promoted: list[TokenWeight]
    suppressed: list[TokenWeight]
    num_examples: dict[ExampleKind, int]
    first_example: int
    """Row of its first example."""
    first_reading: int
    """Row of its first reading, if it has any."""
    num_readings: int
    """Examples of which the run published what it changed there."""
    first_judged: int
    """Row of its first judged activation, if it has any."""
    num_judged: int
    first_score: int
    """Row of its first score, if it has any."""
    num_scores: int
    first_candidate: int
    """Row of its first candidate for a label, if any were collected."""
    num_candidates: int
    first_tried: int
    """Row of the first text on which they were tried, if they were."""
    num_tried: int
    x: float | None
    """On the map of the run; None when it is dead."""
    y: float | None


def unlabelled_title(index: int, top_words: list[str], *, dead: bool) -> str:
    """What to call a feature that has no label."""
    if dead:
        return "dead feature"
    words = ", ".join(f'"{word}"' for word in map(visible_text, top_words[:TITLE_WORDS]))
    return f"{words} (unlabelled)" if words else f"feature {index}"


def get_feature(sae: OpenSAE, index: int) -> Feature:
    """One feature. The index must be within the SAE."""
    return to_feature(sae.run, sae.run.tables.take("features", [sae.row(index)], DETAILS).to_pylist()[0])


def get_summaries(run: OpenRun, rows: list[int]) -> list[FeatureSummary]:
    """Features of a run by row, in the order asked for."""
    return to_summaries(run, run.tables.take("features", rows, SUMMARY))


def to_summaries(run: OpenRun, records: pa.Table) -> list[FeatureSummary]:
    """Rows of the table of features, with the columns SUMMARY, as features."""
    return [FeatureSummary(**summary_fields(run, record)) for record in records.to_pylist()]


def get_places(run: OpenRun, rows: list[int]) -> list[tuple[float, float] | None]:
    """The places of features on the map, by row; None for those that are not on it."""
    records = run.tables.take("features", rows, ["x", "y"]).to_pylist()
    return [None if record["x"] is None else (record["x"], record["y"]) for record in records]


def to_feature(run: OpenRun, record: dict[str, Any]) -> Feature:
    """A row of the table of features, with the columns DETAILS."""
    scale = next(sae.record.histogram_scale for sae in run.saes if sae.name == record["sae"])
    return Feature(
        **summary_fields(run, record),
        **{name: record[name] for name in (*OWN_COLUMNS, *SCORE_COLUMNS)},
        owner_note=correction_of(run, record).note,
        histogram=record["histogram"],
        histogram_edges=histogram_edges(scale).tolist(),
        promoted=token_weights(run, record["promoted"], record["promoted_logits"]),
        suppressed=token_weights(run, record["suppressed"], record["suppressed_logits"]),
        num_examples=dict(zip(EXAMPLE_KINDS, record["num_examples"], strict=True)),
        first_example=record["first_example"],
        first_reading=record["first_reading"],
        num_readings=record["num_readings"],
        x=record["x"],
        y=record["y"],
    )


def quoted(text: str) -> str:
    """A text as a condition in SQL names it; NUL is left out, for no published name has one."""
    return "'" + text.replace("\0", "").replace("'", "''") + "'"


def summary_fields(run: OpenRun, record: dict[str, Any]) -> dict[str, Any]:
    """The fields of a FeatureSummary from a row with the columns SUMMARY."""
    summary = {name: record[name] for name in SUMMARY if name not in EFFECT_COLUMNS} | effect_fields(run, record)
    owner_label = correction_of(run, record).label
    own = {"model": run.record.model, "label": visible_text(summary["label"]), "owner_label": owner_label}
    return {**summary, **own}


def correction_of(run: OpenRun, record: dict[str, Any]) -> Correction:
    """What an owner wrote about the feature of a row with the columns SUMMARY."""
    return run.corrections.of(record["sae"], record["index"])


def token_weights(run: OpenRun, tokens: list[int], logits: list[float]) -> list[TokenWeight]:
    """Tokens with the logits that a feature adds to them."""
    vocabulary = run.tables.vocabulary
    return [TokenWeight(t, token_text(vocabulary[t]), logit) for t, logit in zip(tokens, logits, strict=True)]
