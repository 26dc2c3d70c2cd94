"""Candidates for the labels of features, with what judges say of each, and the texts on which they were tried."""

from dataclasses import dataclass

from backend.html.tokens import visible_text
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.features import Feature
from backend.published.scores import judges_of
from data.artifacts.candidates import ORIGINS, CandidateReport
from data.artifacts.scores import Trust


@dataclass(frozen=True, slots=True)
class CandidateScore:
    """How a label does on texts with and without the feature that no candidate was made from, by one judge."""

    judge: str
    """Its name."""
    task: str
    """detection or fuzzing, see docs/method.md."""
    value: float
    """Balanced accuracy: the mean of the next two."""
    true_positive: float | None
    """Share of the texts with the feature of which the judge, told the label, says so."""
    true_negative: float | None
    """Share of the texts without it of which it says that."""
    trust: Trust | None
    """How the judge does at this task where the truth is known."""


@dataclass(frozen=True, slots=True)
class LabelCandidate:
    """A label that a feature may have."""

    text: str
    origin: str
    """rule: the label from statistics; other rule: one that comes next; judge: a judge wrote it; promoted tokens;
    owner: an owner of this server wrote it."""
    proposer: str
    """The judge that wrote it; "" for none."""
    rule: str
    """The label as a rule, JSON; "" where it is none."""
    is_label: bool
    """Whether the feature is called so."""
    scores: list[CandidateScore]
    """By judge; none where it was not tried."""


@dataclass(frozen=True, slots=True)
class TriedText:
    """A text on which candidates were tried."""

    active: bool
    """Whether the feature is active in it."""
    pieces: list[bytes]
    """Of its tokens."""
    marked: frozenset[int]
    """Offsets of the tokens that are marked for `fuzzing`."""


def candidate_report(run: OpenRun) -> CandidateReport:
    """How candidates were tried in a run."""
    return run.once(_read_report)


def _read_report(run: OpenRun) -> CandidateReport:
    return CandidateReport.from_json(run.record.corpus.get("score", {}).get("candidates", {}))


def get_candidates(sae: OpenSAE, feature: Feature) -> list[LabelCandidate]:
    """The candidates of a feature, the best first; none of a feature that was not looked at."""
    if not feature.num_candidates:
        return []
    rows = range(feature.first_candidate, feature.first_candidate + feature.num_candidates)
    judges, task = judges_of(sae.run), candidate_report(sae.run).task
    found = []
    for record in sae.run.tables.take("candidates", rows).to_pylist():
        columns = zip(judges, record["scores"], record["true_positive"], record["true_negative"], strict=True)
        scores = [
            CandidateScore(judge.name, task, value, right, wrong, judge.trust.get(task))
            for judge, value, right, wrong in columns
            if value is not None
        ]
        proposer = judges[record["proposer"]].name if record["proposer"] >= 0 else ""
        text, origin = visible_text(record["text"]), ORIGINS[record["origin"]]
        found.append(LabelCandidate(text, origin, proposer, record["rule"], record["is_label"], scores))
    return found


def get_tried(sae: OpenSAE, feature: Feature) -> list[TriedText]:
    """The texts on which the candidates of a feature were tried."""
    tables = sae.run.tables
    found = tables.take("tried", range(feature.first_tried, feature.first_tried + feature.num_tried)).to_pylist()
    windows = tables.windows(*([row[name] for row in found] for name in ("document", "start", "length")))
    vocabulary = tables.vocabulary
    return [
        TriedText(row["active"], [vocabulary[token] for token in tokens], frozenset(row["marked"]))
        for row, tokens in zip(found, windows, strict=True)
    ]
