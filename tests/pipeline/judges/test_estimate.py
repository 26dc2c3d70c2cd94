"""What judging will take: counted from the recipe, with the labels that a judge writes."""

import pytest

from pipeline.commands.plan import judge_row
from pipeline.judges.estimate import CANDIDATES, LABEL_OUT, estimate
from pipeline.recipe.comparing import CompareConfig
from pipeline.recipe.judging import JudgeConfig, ScoreConfig
from tests.support.fake_run import fake_recipe

SERVED = {"kind": "served", "base_url": "http://127.0.0.1:1/v1", "model": "m"}


NOTHING_COMPARED = CompareConfig(n=0)


def config(**judge: object) -> tuple[ScoreConfig, JudgeConfig]:
    made = ScoreConfig.model_validate(
        {"features": 10, "unlabelled": 2, "candidate_texts": 5, "planted": 4, "judges": [{**SERVED, **judge}]}
    )
    return made, made.judges[0]


def row(**judge: object) -> tuple[str, str]:
    """Of a recipe with one judge."""
    score, one = config(**judge)
    return judge_row(fake_recipe(score=score.model_dump(mode="json"), compare={"n": 0}), one)


def test_labels_and_their_trials_are_counted() -> None:
    score, judge = config(tasks=["fuzzing"])
    found = estimate(score, judge, NOTHING_COMPARED, 3)
    asked, planted, trials = 10 * 2 * 10, 4 * 9, 12 * (CANDIDATES + 1) * 2 * 5
    assert found.proposals == 12
    assert found.questions == asked + planted + trials + 12


def test_a_judge_that_writes_none_costs_less() -> None:
    with_labels = estimate(*config(output_price=1e6), NOTHING_COMPARED, 3)
    without = estimate(*config(output_price=1e6, proposals=0), NOTHING_COMPARED, 3)
    trials = 12 * 2 * 5
    assert with_labels.cost - without.cost == pytest.approx(12 * LABEL_OUT + trials)
    assert without.proposals == 0


def test_a_judge_of_marked_tokens_alone_tries_no_candidates() -> None:
    assert estimate(*config(tasks=["specificity"], proposals=0), NOTHING_COMPARED, 3).questions == 10 * 1000 + 4 * 9


def test_plan_says_what_the_labels_cost() -> None:
    _, said = row(tasks=["fuzzing"], input_price=2.0, output_price=8.0)
    assert ", 12 of them for labels that it writes" in said
    assert " by its prices" in said
    _, said = row(tasks=["fuzzing"], proposals=0)
    assert "labels" not in said


def test_only_chat_models_can_be_asked_for_labels() -> None:
    with pytest.raises(ValueError, match="a judge of kind 'rule' cannot write labels"):
        JudgeConfig(kind="rule", proposals=3)
