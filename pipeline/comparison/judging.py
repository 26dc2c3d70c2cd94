"""Judges on what is compared: the questions, samples and scores of stage `score`, for every group in the same way.

Shapes: C drawn, L of these with a label, J measures.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from data.artifacts.comparison import FIT
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.scores import TASK_NAMES, JudgeReport
from pipeline.comparison.drawing import Drawn
from pipeline.comparison.labelling import Examples, Label
from pipeline.comparison.reading import ReadText
from pipeline.judges.cache import AnswerCache
from pipeline.judges.protocol import Judge
from pipeline.judges.tasks import TASKS
from pipeline.recipe import Recipe
from pipeline.recipe.judging import JudgeConfig
from pipeline.scores.asking import Found, Interview, ScoredFeature, ScoredSAE
from pipeline.scores.sampling import BandSampler, Windows, no_samples
from pipeline.scores.texts import WindowTexts
from pipeline.scores.trust import Planted

NO_LABEL = {FIT: 0.0, "specificity": 0.0, "detection": 0.5, "fuzzing": 0.5}
"""Scores of one that no rule fits at all: those of saying nothing, or of guessing."""


class Asked(NamedTuple):
    """A judge that is asked."""

    number: int
    """In the recipe."""
    config: JudgeConfig
    judge: Judge
    cache: AnswerCache


class MeasureName(NamedTuple):
    """A score by one judge; the name "" of a judge is for that which needs none."""

    judge: str
    task: str


def judges_to_ask(configs: Sequence[JudgeConfig], reports: Sequence[JudgeReport]) -> tuple[list[int], list[str]]:
    """Numbers of the judges that judge everything, and why the others are left out. reports: of stage `score`."""
    able, left_out = [], []
    for number, (config, report) in enumerate(zip(configs, reports, strict=True)):
        if report.why_none:
            left_out.append(f"{config.title}: {report.why_none}")
        elif config.features is not None:
            left_out.append(f"{config.title}: the recipe lets it judge {config.features:,} features only.")
        else:
            able.append(number)
    return able, left_out


def measures_of(configs: Sequence[JudgeConfig]) -> list[MeasureName]:
    """All measures, that without a judge first."""
    return [
        MeasureName("", FIT),
        *(MeasureName(one.title, task) for one in configs for task in TASK_NAMES if task in one.tasks),
    ]


def sample_group(
    drawn: Drawn, examples: Examples, labels: Sequence[Label], text: ReadText, corpus: TokenizedCorpus,
    absent: Windows, recipe: Recipe,
) -> ScoredSAE:  # fmt: skip
    """The samples of those of a group that have a label, drawn as those of features are."""
    config = recipe.compare
    labelled = np.flatnonzero([label.text != "" for label in labels])
    if len(labelled) == 0:
        return ScoredSAE(drawn.name, [], no_samples(), absent, np.zeros((len(absent.token_P), 0), bool))
    sampler = BandSampler(
        drawn.sae, drawn.place_C[labelled], examples.max_C[labelled], bands=recipe.score.bands,
        per_band=-(-config.samples // recipe.score.bands), context=recipe.score.context, absent=absent,
        seed=recipe.seed,
    )  # fmt: skip
    for rows in text.slices():
        sampler.add(drawn.x(text)[rows], text.token_N[rows])
    features = [ScoredFeature(number, labels[number].text, labels[number].rule) for number in labelled.tolist()]
    is_absent_PC = sampler.seen_P[:, None] & ~sampler.active_PC
    return ScoredSAE(drawn.name, features, sampler.finish(corpus), absent, is_absent_PC)


def ask_all(
    asked: Sequence[Asked], scored: Sequence[ScoredSAE], texts: WindowTexts, recipe: Recipe, num_judges: int
) -> list[Found]:
    """What all judges say of each group."""
    config = recipe.compare
    found = [Found(np.full((len(one.samples.value_M), num_judges), np.nan, np.float32)) for one in scored]
    for one in asked:
        samples = min(config.samples, one.config.samples or config.samples)
        judge_config = one.config.model_copy(update={"samples": samples})
        interview = Interview(one.number, judge_config, one.judge, one.cache)
        nothing_planted: dict[str, list[Planted]] = {name: [] for name in TASKS}
        interview.run(
            scored, found, nothing_planted, texts, bands=recipe.score.bands, examples=config.examples, seed=recipe.seed
        )
    return found


def values_of(
    labels: Sequence[Label],
    scored: ScoredSAE,
    found: Found,
    measures: Sequence[MeasureName],
    configs: Sequence[JudgeConfig],
) -> npt.NDArray[np.float64]:
    """Every measure of everything drawn of a group [C, J]; NaN where a judge could not say."""
    value_CJ = np.full((len(labels), len(measures)), np.nan)
    column = {measure: place for place, measure in enumerate(measures)}
    for place, measure in enumerate(measures):
        for number, label in enumerate(labels):
            if not label.text:
                value_CJ[number, place] = NO_LABEL[measure.task]
            elif measure.task == FIT:
                value_CJ[number, place] = label.fit
    for score in found.scores:
        number = scored.features[score.feature].index
        value_CJ[number, column[MeasureName(configs[score.judge].title, score.task)]] = score.value
    return value_CJ
