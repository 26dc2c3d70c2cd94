"""What every judge is asked in a run, and the scores that come of its answers.

Questions are made, asked and forgotten some thousands at a time, so that memory does not grow with their number.

Shapes: M samples of one SAE, R samples of one feature, J judges.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np

from data.artifacts.scores import JudgeReport, Trust
from pipeline.arrays import Floats, Ints, unpack_tokens
from pipeline.judges.cache import AnswerCache, question_key
from pipeline.judges.proposing import Proposal
from pipeline.judges.protocol import Answer, Judge, Place, Question, Task
from pipeline.judges.tasks import DETECTION, FUZZING, SPECIFICITY, TASKS
from pipeline.progress import Progress, log, track
from pipeline.recipe.judging import JudgeConfig
from pipeline.scores.choosing import share_of
from pipeline.scores.detection import Accuracy, ExampleTexts, LabelledText, accuracy
from pipeline.scores.sampling import FeatureRows, Samples, Windows
from pipeline.scores.tally import Tally
from pipeline.scores.texts import WindowTexts
from pipeline.scores.trust import Planted, first_labels, measure_trust

QUESTIONS_AT_ONCE = 16_384
"""Questions that are asked together, and in memory, if no one thing that is asked about has more."""
T = TypeVar("T")
Item = tuple[T, list[Question]]
"""A thing, and all questions about it."""


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

    @cached_property
    def rows(self) -> FeatureRows:
        """Where the samples of each feature stand."""
        return FeatureRows(self.samples.feature_M)


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
        self._tally = Tally()
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
            self._score(TASKS[name], saes, found, self._places(saes), texts, bands, examples, seed)

    def run_anew(
        self, saes: Sequence[ScoredSAE], found: Sequence[Found], places: Sequence[Sequence[int]], texts: WindowTexts,
        *, bands: int, examples: int, seed: int,
    ) -> None:  # fmt: skip
        """Let the judge judge features of each SAE anew, those that it judges at all. places: theirs in the SAE."""
        mine = [[place for place in some if place in own] for some, own in zip(places, self._places(saes), strict=True)]
        for name in self._config.tasks:
            self._score(TASKS[name], saes, found, mine, texts, bands, examples, seed)

    def report(self) -> JudgeReport:
        """What it was asked until now, and how far it can be trusted."""
        totals, written = self._tally.totals(), self._proposals
        tokens_in = totals.tokens_in + sum(one.tokens_in for one in written)
        tokens_out = totals.tokens_out + sum(one.tokens_out for one in written)
        return JudgeReport(
            name=self._config.title,
            kind=self._config.kind,
            about=self._judge.about,
            trust=self.trust,
            num_features=len(self._judged),
            questions=totals.questions + len(written),
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
        self, task: Task, saes: Sequence[ScoredSAE], found: Sequence[Found], places: Sequence[Sequence[int]],
        texts: WindowTexts, bands: int, examples: int, seed: int,
    ) -> None:  # fmt: skip
        if task is SPECIFICITY:
            per_band = None if self._config.samples is None else max(1, self._config.samples // bands)
            self._score_specificity(saes, found, places, texts, per_band)
            return
        total = 2 * examples * sum(map(len, places))
        asked = self._example_texts(task, saes, places, texts, examples, seed)
        for (number, place, some), answers in self.ask_each(asked, total, task.name):
            rate = accuracy(some, answers)
            if rate.num:
                found[number].scores.append(self._accuracy(saes[number], place, task, rate))

    def _score_specificity(
        self, saes: Sequence[ScoredSAE], found: Sequence[Found], places: Sequence[Sequence[int]], texts: WindowTexts,
        per_band: int | None,
    ) -> None:  # fmt: skip
        features = [(number, place) for number, some in enumerate(places) for place in some]
        total = sum(len(asked_rows(saes[number], place, per_band)) for number, place in features)
        items = (
            ((number, place, rows), specificity_questions(saes[number], texts, rows))
            for number, place in features
            if len(rows := asked_rows(saes[number], place, per_band))
        )
        for (number, place, rows), answers in self.ask_each(items, total, SPECIFICITY.name):
            value_R = np.array([_value(answer) for answer in answers], np.float32)
            found[number].answers_MJ[rows, self._number] = value_R
            found[number].scores += self._specificity(saes[number], place, rows, value_R)

    def _example_texts(
        self, task: Task, saes: Sequence[ScoredSAE], places: Sequence[Sequence[int]], texts: WindowTexts,
        examples: int, seed: int,
    ) -> Iterator[Item[tuple[int, int, list[LabelledText]]]]:  # fmt: skip
        """The texts of each feature that is judged, by number of its SAE and its place there."""
        for number, sae in enumerate(saes):
            maker = ExampleTexts(texts, sae.samples, sae.absent)
            make = {DETECTION.name: maker.detection, FUZZING.name: maker.fuzzing}[task.name]
            for place in places[number]:
                one = sae.features[place]
                some = make(one.label, one.rule, maker.choose(place, examples, sae.is_absent_PC[:, place], seed))
                yield (number, place, some), [text.question for text in some]

    def _specificity(self, sae: ScoredSAE, place: int, rows: Ints, value_R: Floats) -> list[Score]:
        """The score of a feature: the mean over bands of the mean answer, as a share of the highest."""
        some_R, band_R = ~np.isnan(value_R), sae.samples.band_M[rows]
        if not some_R.any():
            return []
        means = [value_R[some_R & (band_R == band)].mean() for band in np.unique(band_R[some_R])]
        value = float(np.mean(means)) / SPECIFICITY.highest
        self._judged.add((sae.name, place))
        return [Score(place, self._number, SPECIFICITY.name, value, None, int(some_R.sum()))]

    def _accuracy(self, sae: ScoredSAE, place: int, task: Task, rate: Accuracy) -> Score:
        self._judged.add((sae.name, place))
        rates = rate.true_positive, rate.true_negative
        return Score(place, self._number, task.name, rate.balanced, rates, rate.num)

    def _places(self, saes: Sequence[ScoredSAE]) -> list[range]:
        """The features of each SAE that this judge judges, by their places there."""
        most = self._config.features
        return [
            range(sae.num_labelled if most is None else min(sae.num_labelled, share_of(most, len(saes), number)))
            for number, sae in enumerate(saes)
        ]

    def ask(self, questions: list[Question], title: str) -> list[Answer]:
        """Its answers."""
        return [
            answer for _, answers in self.ask_each([(None, questions)], len(questions), title) for answer in answers
        ]

    def ask_each(self, items: Iterable[Item[T]], total: int, title: str) -> Iterator[tuple[T, list[Answer]]]:
        """Its answers to the questions about each thing. total: about how many there are; none where it is 0."""
        if not total:
            return
        num_kept = 0
        with track(f"{self._config.title}: {title}", total, "questions") as progress:
            for some in _in_groups(items):
                answers, kept = self._ask_some([question for _, questions in some for question in questions], progress)
                num_kept += kept
                said = iter(answers)
                for thing, questions in some:
                    yield thing, [next(said) for _ in questions]
        if num_kept:
            log(f"{self._config.title}: {num_kept:,} of these answers were kept from before")

    def _ask_some(self, questions: list[Question], progress: Progress) -> tuple[list[Answer], int]:
        """Answers, and how many of them were kept from before."""
        answers, usage = self._cache.ask(questions, progress.advance)
        self._tally.add([question_key(question) for question in questions], answers)
        return answers, usage.kept


def asked_rows(sae: ScoredSAE, place: int, per_band: int | None) -> Ints:
    """The samples of a feature that a judge is asked about. per_band: at most; None: all."""
    mine = sae.rows.of(place)
    rows = np.arange(mine.start, mine.stop)
    return rows if per_band is None else rows[sae.samples.rank_M[mine] < per_band]


def specificity_questions(sae: ScoredSAE, texts: WindowTexts, rows: Ints) -> list[Question]:
    """The question about each of some samples."""
    samples = sae.samples
    sequence_R, position_R = unpack_tokens(samples.windows.token_P[rows])
    questions = []
    for row, sequence, position in zip(rows.tolist(), sequence_R.tolist(), position_R.tolist(), strict=True):
        one, start = sae.features[samples.feature_M[row]], int(samples.windows.start_P[row])
        text = texts.text(sequence, start, int(samples.windows.stop_P[row]), {position - start})
        questions.append(Question(SPECIFICITY, one.label, text, one.rule, (Place(sequence, position),)))
    return questions


def _in_groups(items: Iterable[Item[T]]) -> Iterator[list[Item[T]]]:
    """Items with about QUESTIONS_AT_ONCE questions together."""
    group: list[Item[T]] = []
    count = 0
    for item in items:
        group.append(item)
        count += len(item[1])
        if count >= QUESTIONS_AT_ONCE:
            yield group
            group, count = [], 0
    if count:
        yield group


def _value(answer: Answer) -> float:
    return float("nan") if answer.value is None else answer.value
