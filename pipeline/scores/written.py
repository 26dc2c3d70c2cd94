"""What a judge says of the texts that a model writes with features held: whether they are about the feature's label.

One judge is asked: of those that can read a text which is not in the corpus (a rule cannot), the one that was measured
to tell right labels from shuffled ones best. It is measured again on this very question, for its answers decide on the
best strength only where it can tell.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from data.artifacts.scores import JudgeReport
from pipeline.influence.strength_files import Curve
from pipeline.influence.strengths import Point
from pipeline.judges.cache import AnswerCache
from pipeline.judges.protocol import Answer, Judge, Question
from pipeline.judges.tasks import TOPIC
from pipeline.progress import track
from pipeline.recipe.judging import JudgeConfig
from pipeline.scores.trust import Planted, measure_trust


class Reader(NamedTuple):
    """A judge that reads written texts."""

    config: JudgeConfig
    judge: Judge
    cache: AnswerCache


def choose_reader(judges: Sequence[JudgeConfig], reports: Sequence[JudgeReport]) -> JudgeConfig | None:
    """The judge that is asked, see the top of this file; None where none was measured. reports: one of each judge."""
    measured = [
        (max(trust.low for trust in report.trust.values()), config)
        for config, report in zip(judges, reports, strict=True)
        if config.kind != "rule" and report.trust
    ]
    return max(measured, key=lambda pair: pair[0])[1] if measured else None


@dataclass
class Judgement:
    """Curves with the judge's scores, and the judge's report."""

    curves: list[Curve]
    report: JudgeReport

    @property
    def trusted(self) -> bool:
        """Whether the judge can tell texts that are about a label from others."""
        return TOPIC.name in self.report.trust and self.report.trust[TOPIC.name].tells


def judge_curves(
    reader: Reader, curves: Sequence[Curve], openings: Sequence[str], planted: Sequence[Planted]
) -> Judgement:
    """Measure the judge, then let it judge every text of a feature with a label."""
    questions = [question for one in curves for question in _questions(one, openings)]
    asked = [*(one.question for one in planted), *questions]
    with track(f"{reader.config.title}: texts", len(asked), "questions") as progress:
        answers, _ = reader.cache.ask(asked, progress.advance)
    trust = measure_trust(planted, answers[: len(planted)])
    tokens_in, tokens_out = sum(one.tokens_in for one in answers), sum(one.tokens_out for one in answers)
    said = iter(answers[len(planted) :])
    judged = [(feature, [_scored(point, feature.label, said) for point in points]) for feature, points in curves]
    report = JudgeReport(
        name=reader.config.title,
        kind=reader.config.kind,
        about=reader.judge.about,
        trust={} if trust is None else {TOPIC.name: trust},
        num_features=sum(any(point.score is not None for point in points) for _, points in judged),
        questions=len(asked),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost=reader.config.cost(tokens_in, tokens_out),
    )
    return Judgement(judged, report)


def _questions(curve: Curve, openings: Sequence[str]) -> list[Question]:
    feature, points = curve
    if not feature.label:
        return []
    texts = [opening + text for point in points for opening, text in zip(openings, point.texts, strict=False)]
    return [Question(TOPIC, feature.label, text) for text in texts]


def _scored(point: Point, label: str, said: Iterator[Answer]) -> Point:
    """A point with the mean of the answers to its texts, which come next."""
    if not label:
        return point
    values = [answer.value for answer in (next(said) for _ in point.texts) if answer.value is not None]
    return replace(point, score=sum(values) / len(values)) if values else point
