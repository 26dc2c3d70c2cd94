"""The candidates for a feature's label, beside the label that an owner wrote: a section of its page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from backend.engine.sentences import Sentences
from backend.features.label_fit import rule_text
from backend.published.candidates import (
    CandidateScore,
    LabelCandidate,
    TriedText,
    candidate_report,
    get_candidates,
    get_tried,
)
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.features import Feature
from backend.published.scores import judges_of, trust_text
from data.artifacts.candidates import SURE, CandidateReport
from data.artifacts.scores import JudgeReport

OWNER, STATISTICS = "owner", "statistics"
ORIGIN_TEXTS = {
    "rule": "statistics",
    "other rule": "statistics, the next best",
    "promoted tokens": "promoted tokens",
    OWNER: "an owner of this server",
}


@dataclass(frozen=True)
class JudgeColumn:
    """A judge that tried candidates."""

    name: str
    about: str
    """How far it can be trusted, at which task: the end of a sentence that begins with its name."""
    decides: bool


@dataclass(frozen=True)
class CandidateLine:
    """A candidate in the table."""

    text: str
    origin: str
    is_label: bool
    rule: str
    """The label as a rule, as a sentence; "" where it is none."""
    scores: list[tuple[str, str]]
    """By column: the score, and what it is made of; ("", "") where that judge cannot read it."""


@dataclass(frozen=True)
class CandidatesSection:
    """The section."""

    judges: list[JudgeColumn]
    lines: list[CandidateLine]
    num_texts: int
    """On which they were tried; 0 where that was not possible."""
    verdict: str
    """The reason why the feature is called what it is."""
    unscored: str
    """The reason why the owner's label has no score; "" where it has one, or there is none."""


def all_candidates(sae: OpenSAE, feature: Feature, sentences: Sentences) -> list[LabelCandidate]:
    """The candidates of a feature, an owner's label first, if there is one."""
    found = get_candidates(sae, feature)
    if not feature.owner_label:
        return found
    score = _owner_score(sae, feature, sentences)
    own = LabelCandidate(feature.owner_label, OWNER, "", "", True, [] if score is None else [score])
    return [own, *(replace(one, is_label=False) for one in found)]


def _owner_score(sae: OpenSAE, feature: Feature, sentences: Sentences) -> CandidateScore | None:
    """The owner's label on the same texts, by the one judge that a server has; None where that cannot be."""
    judge, report = _server_judge(sae.run), candidate_report(sae.run)
    if judge is None or not feature.num_tried:
        return None
    tried = get_tried(sae, feature)
    right = sentences.try_label(sae.run, feature.owner_label, tried, report.task)
    if right is None:
        return None
    rates = [_share(right, tried, active) for active in (True, False)]
    return CandidateScore(judge.name, report.task, sum(rates) / 2, rates[0], rates[1], judge.trust.get(report.task))


def _share(right: Sequence[bool], tried: Sequence[TriedText], active: bool) -> float:
    found = [one for one, text in zip(right, tried, strict=True) if text.active == active]
    return sum(found) / max(len(found), 1)


def _server_judge(run: OpenRun) -> JudgeReport | None:
    """The judge of a run that is a sentence encoder, if it tried candidates."""
    tried = candidate_report(run).judges
    return next((judge for judge in judges_of(run) if judge.kind == "sentences" and judge.name in tried), None)


def candidates_section(sae: OpenSAE, feature: Feature, sentences: Sentences) -> CandidatesSection | None:
    """The section of a feature; None where nothing is known to show."""
    candidates = all_candidates(sae, feature, sentences)
    if not candidates:
        return None
    report = candidate_report(sae.run)
    columns = [judge for judge in judges_of(sae.run) if judge.name in report.judges]
    return CandidatesSection(
        judges=[_column(judge, report) for judge in columns],
        lines=[_line(one, columns) for one in candidates],
        num_texts=feature.num_tried,
        verdict=_verdict(feature, report, judges_of(sae.run)),
        unscored=_unscored(sae.run, feature, candidates, sentences),
    )


def _column(judge: JudgeReport, report: CandidateReport) -> JudgeColumn:
    about = f"({report.task}) {trust_text(judge.trust.get(report.task))}"
    return JudgeColumn(judge.name, about, judge.name == report.decider)


def _line(candidate: LabelCandidate, columns: Sequence[JudgeReport]) -> CandidateLine:
    by_judge = {score.judge: score for score in candidate.scores}
    origin = f"judge {candidate.proposer}" if candidate.proposer else ORIGIN_TEXTS[candidate.origin]
    scores = [_shown(by_judge[judge.name]) if judge.name in by_judge else ("", "") for judge in columns]
    return CandidateLine(candidate.text, origin, candidate.is_label, rule_text(candidate.rule), scores)


def _shown(score: CandidateScore) -> tuple[str, str]:
    present, absent = score.true_positive or 0.0, score.true_negative or 0.0
    return f"{score.value:.0%}", f"right on {present:.0%} of the texts with it, {absent:.0%} of those without"


def _verdict(feature: Feature, report: CandidateReport, judges: Sequence[JudgeReport]) -> str:
    if not feature.num_candidates:
        return ""
    decider = next((judge for judge in judges if judge.name == report.decider), None)
    if decider is None:
        return "No judge that reads labels can be trusted here, so none of them may change what the feature is called."
    if not report.may_name:
        agreement = decider.trust[report.task].agreement
        return (
            f"The best by judge {decider.name} comes first, but that judge is right about {agreement:.0%} of what is "
            f"known: to change what a feature is called, {SURE:.0%} are needed."
        )
    if feature.label and feature.label_origin != STATISTICS:
        return f"Judge {decider.name} finds the label better than what statistics found, and not by chance."
    return f"Judge {decider.name} finds none of them better than the label from statistics by more than chance."


def _unscored(run: OpenRun, feature: Feature, candidates: Sequence[LabelCandidate], sentences: Sentences) -> str:
    if not feature.owner_label or candidates[0].scores:
        return ""
    if not feature.num_tried:
        return "This run kept no texts of this feature on which a label could be tried."
    if _server_judge(run) is None:
        return "The server itself has no judge of this run that can be trusted."
    return sentences.why_off(run) or "The sentence encoder of this run cannot be asked."
