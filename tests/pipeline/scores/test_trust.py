"""Judges of known quality get the figures that they deserve."""

from pathlib import Path

import numpy as np
import pytest

from data.artifacts.corpus import TokenizedCorpus
from pipeline.judges.cache import AnswerCache
from pipeline.judges.protocol import Answer, Question, Task
from pipeline.judges.rule import RuleJudge
from pipeline.judges.tasks import DETECTION, SPECIFICITY, TASKS
from pipeline.labels.rule import Condition, Rule
from pipeline.labels.words import Words
from pipeline.scores.trust import TEXTS, Planted, PlantedLabel, Planter, first_labels, measure_trust, separate
from tests.support.fakes import make_corpus

VOCABULARY = [f" w{chr(97 + n)}".encode() for n in range(20)]
LABELS = [
    PlantedLabel(f"w{chr(97 + n)}", Rule((Condition("here", "word", (f"w{chr(97 + n)}",)),)).to_json())
    for n in range(10)
]


@pytest.fixture
def corpus(tmp_path: Path) -> TokenizedCorpus:
    rng = np.random.default_rng(0)
    return make_corpus(tmp_path / "corpus", [rng.integers(20, size=60).tolist() for _ in range(12)], 31, range(12))


@pytest.fixture
def planter(corpus: TokenizedCorpus) -> Planter:
    return Planter(corpus, Words(VOCABULARY), VOCABULARY, corpus.sequence_numbers(held_out=True), 4, 0)


def truth(question: Question) -> bool:
    """Whether the label stands in the text where it must, read off the text itself."""
    text = question.text
    if question.task.subject == "marked":
        text = text.split("<<")[1].split(">>")[0]
    return question.label in text.split()


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_planted_questions_have_the_truth_they_say(planter: Planter, task: Task) -> None:
    planted = planter.plant(LABELS, 6, task)
    assert len(planted) == 6 * 3 * TEXTS
    assert {one.label for one in planted} == set(range(6))
    for one in planted:
        assert truth(one.question) == (one.kind == "right")
        assert one.truth == (task.highest if one.kind == "right" else 0)
    assert planter.plant(LABELS, 6, task) == planted
    assert {one.label for one in first_labels(planted, 2)} == {0, 1}


def test_the_rule_itself_is_always_right(planter: Planter, corpus: TokenizedCorpus, tmp_path: Path) -> None:
    planted = planter.plant(LABELS, 8, DETECTION)
    judge = RuleJudge(corpus, Words(VOCABULARY))
    answers, _ = AnswerCache(tmp_path, judge).ask([one.question for one in planted])
    trust = measure_trust(planted, answers)
    assert trust is not None
    assert trust.tells
    assert (trust.agreement, trust.bias, trust.separation, trust.low, trust.high) == (1, 0, 1, 1, 1)
    assert trust.num_labels == 8
    assert trust.num_questions == len(planted)


def test_a_judge_that_guesses_cannot_tell_and_one_that_is_kind_is_biased(planter: Planter) -> None:
    planted = planter.plant(LABELS, 10, SPECIFICITY)
    rng = np.random.default_rng(0)
    guess = measure_trust(planted, [Answer(float(value)) for value in rng.random(len(planted)) * 3])
    assert guess is not None
    assert not guess.tells
    assert guess.low < 0.5 < guess.high
    assert guess.agreement == pytest.approx(0.5, abs=0.15)
    kind = measure_trust(planted, [Answer(3.0)] * len(planted))
    assert kind is not None
    assert not kind.tells
    assert (kind.agreement, kind.bias, kind.separation) == (0.5, 0.5, 0.5)
    weak = measure_trust(planted, [Answer(min(3.0, max(0.0, one.truth / 3 + rng.normal(1, 1)))) for one in planted])
    assert weak is not None
    assert weak.tells
    assert 0.6 < weak.separation < 0.95


def test_a_judge_without_answers_has_no_figures(planter: Planter) -> None:
    planted = planter.plant(LABELS, 4, SPECIFICITY)
    assert measure_trust(planted, [Answer(None)] * len(planted)) is None
    assert measure_trust([], []) is None


def test_separation_is_the_area_under_the_curve() -> None:
    rng = np.random.default_rng(1)
    right = [rng.integers(0, 5, 3).astype(float) for _ in range(9)]
    shuffled = [rng.integers(0, 4, 3).astype(float) for _ in range(9)]
    pairs = [(a, b) for one in right for a in one for other in shuffled for b in other]
    expected = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])
    found, low, high = separate(right, shuffled)
    assert found == pytest.approx(expected)
    assert low < found < high


def test_planting_needs_text_of_both_kinds(planter: Planter) -> None:
    assert planter.plant([PlantedLabel("none", LABELS[0].rule.replace("wa", "nowhere"))], 5, SPECIFICITY) == []
    assert isinstance(planter.plant(LABELS[:2], 5, SPECIFICITY)[0], Planted)
