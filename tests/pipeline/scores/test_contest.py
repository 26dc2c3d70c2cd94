"""Which candidate is best, and when a feature is named by it."""

import numpy as np
import pytest

from data.artifacts.candidates import JUDGE, PROMOTED, RULE
from data.artifacts.scores import JudgeReport, Trust
from pipeline.scores.contest import Contest, Outcome, best_task, common_task, find_decider, may_name, sign_test
from pipeline.scores.detection import Accuracy, ChosenTexts
from pipeline.scores.sources import LabelCandidate

TEXTS = 20
CHOSEN = ChosenTexts(np.arange(TEXTS // 2), np.arange(TEXTS // 2))


def outcome(num_right: int) -> Outcome:
    """Right on the first so many texts."""
    right_T = np.arange(TEXTS) < num_right
    half = TEXTS // 2
    return Outcome(Accuracy(float(right_T[:half].mean()), float(right_T[half:].mean()), TEXTS), right_T)


def contest(*candidates: LabelCandidate, right: list[int]) -> Contest:
    found = Contest(0, list(candidates), CHOSEN)
    found.outcomes[1] = [outcome(num) for num in right]
    return found


OURS, WORDS = LabelCandidate("ours", RULE), LabelCandidate("words", PROMOTED)
ITS, ITS_TOO = (LabelCandidate(text, JUDGE, judge) for judge, text in enumerate(("its", "its too"), 1))


def trust(low: float, agreement: float = 0.95) -> Trust:
    return Trust(40, 360, agreement, 0.0, low, low, 1.0)


def test_a_better_candidate_names_the_feature_where_its_judge_is_sure() -> None:
    held = contest(OURS, ITS, WORDS, right=[10, 20, 0])
    assert held.order(1) == [1, 0, 2]
    assert held.label(1, True) == 1
    assert held.label(1, False) == 0


def test_a_tie_and_a_difference_that_may_be_chance_keep_the_label_from_statistics() -> None:
    assert contest(OURS, ITS, right=[20, 20]).order(1) == [0, 1]
    assert contest(OURS, ITS, right=[20, 20]).label(1, True) == 0
    assert contest(OURS, ITS, right=[17, 20]).label(1, True) == 0


def test_the_more_challengers_the_more_is_needed() -> None:
    assert contest(OURS, ITS, right=[15, 20]).label(1, True) == 1
    assert contest(OURS, ITS, WORDS, right=[15, 20, 0]).label(1, True) == 0


def test_a_feature_without_a_label_is_named_by_what_is_good_enough() -> None:
    assert contest(ITS, WORDS, right=[18, 3]).label(1, True) == 0
    assert contest(ITS, WORDS, right=[14, 3]).label(1, True) is None
    assert contest(ITS, WORDS, right=[18, 3]).label(1, False) is None


def test_what_nobody_tried_stays_in_its_order() -> None:
    held = Contest(0, [OURS, ITS_TOO, WORDS], CHOSEN)
    assert held.order(None) == held.order(5) == [0, 1, 2]
    assert held.label(5, True) == 0


@pytest.mark.parametrize(("wins", "losses", "p"), [(0, 0, 1.0), (1, 0, 0.5), (5, 0, 1 / 32), (3, 1, 5 / 16)])
def test_the_sign_test_is_the_binomial_tail(wins: int, losses: int, p: float) -> None:
    one = np.array([True] * wins + [False] * losses + [True, False], bool)
    other = np.array([False] * wins + [True] * losses + [True, False], bool)
    assert sign_test(one, other) == pytest.approx(p)


def test_the_most_trusted_judge_that_reads_labels_decides() -> None:
    def report(kind: str, **found: Trust) -> JudgeReport:
        return JudgeReport(kind, kind, "", trust=found)

    rule, good = report("rule", fuzzing=trust(1.0)), report("served", fuzzing=trust(0.9))
    weak = report("local", detection=trust(0.4), specificity=trust(0.9))
    near = report("sentences", fuzzing=trust(0.8, 0.82), detection=trust(0.7))
    assert [best_task(one.trust) for one in (rule, weak, near)] == ["fuzzing", None, "fuzzing"]
    assert find_decider([rule, weak]) is None
    assert find_decider([rule, weak, near]) == 2
    assert find_decider([rule, near, good]) == 2
    assert common_task([rule, weak, near], 2) == common_task([weak, rule], None) == "fuzzing"
    assert common_task([weak], None) == ""
    assert not may_name(near)
    assert may_name(good)
