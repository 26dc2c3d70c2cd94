"""What every judge is asked in a run, and the scores that come of its answers.

Shapes: M samples of one SAE, J judges.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from data.artifacts.scores import JudgeReport, Trust
from pipeline.arrays import Floats, Ints, unpack_tokens
from pipeline.judges.cache import AnswerCache, question_key
from pipeline.judges.proposing import Proposal
from pipeline.judges.protocol import Answer, Judge, Place, Question, Task
from pipeline.judges.tasks import DETECTION, FUZZING, SPECIFICITY, TASKS
from pipeline.progress import log, track
from pipeline.recipe.judging import JudgeConfig
from pipeline.scores.choosing import share_of
from pipeline.scores.detection import Accuracy, ExampleTexts, LabelledText, accuracy
from pipeline.scores.sampling import Samples, Windows
from pipeline.scores.texts import WindowTexts
from pipeline.scores.trust import Planted, first_labels, measure_trust


@dataclass(frozen=True)
class ScoredFeature:
    """A feature and its label."""

    index: int
    label: str
    rule: str


@dataclass(frozen=True)
class ScoredSAE:
    """All that judges are asked about the features of one SAE."""

    name: str
    features: list[ScoredFeature]
    """In the order in which they are chosen, those without a label last; samples name them by their place here."""
    samples: Samples
    absent: Windows
    is_absent_PC: np.ndarray
    """Whether each window is without each feature."""

    @property
    def num_labelled(self) -> int:
        """Features that have a label to be scored."""
        return sum(one.label != "" for one in self.features)


class Score(NamedTuple):
    """A score of one feature by one judge at one task."""

    feature: int
    """Place among the features."""
    judge: int
    task: str
    value: float
    rates: tuple[float, float] | None
    """Of detection and fuzzing: true positives, true negatives."""
    num: int


@dataclass
class Found:
    """What judges said of one SAE."""

    answers_MJ: Floats
    """To the question of specificity; NaN for none."""
    scores: list[Score] = field(default_factory=list)

    @classmethod
    def nothing(cls, sae: "ScoredSAE", num_judges: int) -> "Found":
        """Before anybody was asked."""
        return cls(np.full((len(sae.samples.value_M), num_judges), np.nan, np.float32))

    def with_new(self, new: "Found", features: Sequence[int], feature_M: Ints) -> "Found":
        """The same, but of some features what was said anew. feature_M: the feature of each answer."""
        of_new_M = np.isin(feature_M, features)
        answers_MJ = np.where(of_new_M[:, None], new.answers_MJ, self.answers_MJ)
        kept = [one for one in self.scores if one.feature not in features]
        return Found(answers_MJ, [*kept, *(one for one in new.scores if one.feature in features)])


class Interview:
    """Asks one judge everything."""

    def __init__(self, number: int, config: JudgeConfig, judge: Judge, cache: AnswerCache) -> None:
        self._number, self._config, self._judge, self._cache = number, config, judge, cache
        self._seen: dict[str, Answer] = {}
        """Every different question's answer, by its hash."""
        self._proposals: list[Proposal] = []
        self._judged: set[tuple[str, int]] = set()
        self.trust: dict[str, Trust] = {}
        """How far it can be trusted, by task."""

    def run(
        self, saes: Sequence[ScoredSAE], found: Sequence[Found], planted: dict[str, list[Planted]], texts: WindowTexts,
        *, bands: int, examples: int, seed: int,
    ) -> None:  # fmt: skip
        """Measure the judge first, then let it judge. found: of each SAE, where its answers go."""
        for name in self._config.tasks:
            questions = first_labels(planted[name], self._config.planted or len(planted[name]))
            measured = measure_trust(questions, self.ask([one.question for one in questions], f"{name}, known truth"))
            if measured is not None:
                self.trust[name] = measured
            self._score(TASKS[name], saes, found, texts, bands, examples, seed)

    def report(self) -> JudgeReport:
        """What it was asked until now, and how far it can be trusted."""
        answers: list[Answer | Proposal] = [*self._seen.values(), *self._proposals]
        tokens_in, tokens_out = sum(a.tokens_in for a in answers), sum(a.tokens_out for a in answers)
        return JudgeReport(
            name=self._config.title,
            kind=self._config.kind,
            about=self._judge.about,
            trust=self.trust,
            num_features=len(self._judged),
            questions=len(answers),
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cost=self._config.cost(tokens_in, tokens_out),
        )

    def count(self, proposals: Sequence[Proposal]) -> None:
        """Labels that it wrote, which are paid for too."""
        self._proposals += proposals

    def judges(self, feature: int, sae: int, num_saes: int) -> bool:
        """Whether it judges a feature, by its place in an SAE and that of the SAE."""
        return self._config.features is None or feature < share_of(self._config.features, num_saes, sae)

    def _score(
        self, task: Task, saes: Sequence[ScoredSAE], found: Sequence[Found], texts: WindowTexts, bands: int,
        examples: int, seed: int,
    ) -> None:  # fmt: skip
        if task is SPECIFICITY:
            per_band = None if self._config.samples is None else max(1, self._config.samples // bands)
            asked = [
                specificity_questions(sae, texts, self._num_features(saes, place), per_band)
                for place, sae in enumerate(saes)
            ]
            answers = iter(self.ask([q for _, questions in asked for q in questions], task.name))
            for (rows, questions), sae, into in zip(asked, saes, found, strict=True):
                values = np.array([_value(next(answers)) for _ in questions], np.float32)
                into.answers_MJ[rows, self._number] = values
                into.scores += self._specificity(sae, rows, values)
            return
        several = [self._labelled(task, sae, texts, self._num_features(saes, place), examples, seed)
                   for place, sae in enumerate(saes)]  # fmt: skip
        answers = iter(self.ask([t.question for ones in several for _, some in ones for t in some], task.name))
        for ones, sae, into in zip(several, saes, found, strict=True):
            for feature, some in ones:
                rate = accuracy(some, [next(answers) for _ in some])
                if rate.num:
                    into.scores.append(self._accuracy(sae, feature, task, rate))

    def _labelled(
        self, task: Task, sae: ScoredSAE, texts: WindowTexts, num_features: int, examples: int, seed: int
    ) -> list[tuple[int, list[LabelledText]]]:
        """The texts of each feature that this judge judges, by its place."""
        maker = ExampleTexts(texts, sae.samples, sae.absent)
        make = {DETECTION.name: maker.detection, FUZZING.name: maker.fuzzing}[task.name]
        found = []
        for place, one in enumerate(sae.features[:num_features]):
            chosen = maker.choose(place, examples, sae.is_absent_PC[:, place], seed)
            found.append((place, make(one.label, one.rule, chosen)))
        return found

    def _specificity(self, sae: ScoredSAE, rows: Ints, values: Floats) -> list[Score]:
        """The score of each feature: the mean over bands of the mean answer, as a share of the highest."""
        scores = []
        feature_R, band_R = sae.samples.feature_M[rows], sae.samples.band_M[rows]
        for place in np.unique(feature_R).tolist():
            some_R = (feature_R == place) & ~np.isnan(values)
            if not some_R.any():
                continue
            means = [values[some_R & (band_R == band)].mean() for band in np.unique(band_R[some_R])]
            value = float(np.mean(means)) / SPECIFICITY.highest
            self._judged.add((sae.name, place))
            scores.append(Score(place, self._number, SPECIFICITY.name, value, None, int(some_R.sum())))
        return scores

    def _accuracy(self, sae: ScoredSAE, place: int, task: Task, rate: Accuracy) -> Score:
        self._judged.add((sae.name, place))
        rates = rate.true_positive, rate.true_negative
        return Score(place, self._number, task.name, rate.balanced, rates, rate.num)

    def _num_features(self, saes: Sequence[ScoredSAE], place: int) -> int:
        """How many features of an SAE this judge judges."""
        count = saes[place].num_labelled
        if self._config.features is None:
            return count
        return min(count, share_of(self._config.features, len(saes), place))

    def ask(self, questions: list[Question], title: str) -> list[Answer]:
        """Its answers."""
        if not questions:
            return []
        with track(f"{self._config.title}: {title}", len(questions), "questions") as progress:
            answers, usage = self._cache.ask(questions, progress.advance)
        if usage.kept:
            log(f"{self._config.title}: {usage.kept:,} of these answers were kept from before")
        self._seen.update(zip(map(question_key, questions), answers, strict=True))
        return answers


def specificity_questions(
    sae: ScoredSAE, texts: WindowTexts, num_features: int, per_band: int | None
) -> tuple[Ints, list[Question]]:
    """The samples that a judge is asked about, and the question of each. per_band: at most; None: all."""
    samples = sae.samples
    asked_M = samples.feature_M < num_features
    if per_band is not None:
        asked_M &= samples.rank_M < per_band
    rows = np.flatnonzero(asked_M)
    sequence_M, position_M = unpack_tokens(samples.windows.token_P)
    questions = []
    for row in rows.tolist():
        one, sequence, position = sae.features[samples.feature_M[row]], int(sequence_M[row]), int(position_M[row])
        start = int(samples.windows.start_P[row])
        text = texts.text(sequence, start, int(samples.windows.stop_P[row]), {position - start})
        questions.append(Question(SPECIFICITY, one.label, text, one.rule, (Place(sequence, position),)))
    return rows, questions


def _value(answer: Answer) -> float:
    return float("nan") if answer.value is None else answer.value
