"""What judging will take: counted from the recipe, with the labels that a judge writes, and never too little."""

from typing import Any

import pytest

from pipeline.commands.plan import judge_row
from pipeline.judges.estimate import CANDIDATES, LABEL_OUT, PLANTED_TEXTS, Estimate, estimate
from pipeline.judges.served import MAX_TOKENS
from pipeline.recipe import Recipe
from pipeline.recipe.judging import JudgeConfig
from tests.support.fake_run import fake_recipe

SERVED = {"kind": "served", "base_url": "http://127.0.0.1:1/v1", "model": "m"}
NONE_HELD = {"features": 0}


def recipe(judge: dict[str, Any], **sections: Any) -> Recipe:
    """Of one judge; nothing is compared and nothing held unless a section says so."""
    scored = {"features": 10, "unlabelled": 2, "candidate_texts": 5, "planted": 4, "judges": [{**SERVED, **judge}]}
    return fake_recipe(**{"score": scored, "compare": {"n": 0}, "strengths": NONE_HELD, **sections})


def estimated(judge: dict[str, Any], **sections: Any) -> Estimate:
    made = recipe(judge, **sections)
    return estimate(made, made.score.judges[0])


def row(**judge: Any) -> str:
    made = recipe(judge)
    return judge_row(made, made.score.judges[0])[1]


def test_labels_and_their_trials_are_counted() -> None:
    found = estimated({"tasks": ["fuzzing"]})
    asked, planted, trials = 2 * 10 * 2 * 10, 4 * 9, 12 * (CANDIDATES + 1) * 2 * 5
    assert found.proposals == 12  # and each feature may be judged anew, under the label that wins
    assert found.questions == asked + planted + trials + 12


def test_every_answer_is_as_long_as_it_may_be() -> None:
    found = estimated({"output_price": 1e6})
    assert found.tokens_out == (found.questions - 12) * MAX_TOKENS + 12 * LABEL_OUT
    assert found.cost == pytest.approx(found.tokens_out)
    longer = estimated({"output_price": 1e6, "extra_body": {"max_completion_tokens": 900, "top_k": 5}})
    assert longer.tokens_out == longer.questions * 900


def test_a_judge_that_writes_none_costs_less() -> None:
    without = estimated({"proposals": 0})
    assert estimated({}).questions - without.questions == 12 + 12 * 2 * 5
    assert without.proposals == 0


def test_a_judge_of_marked_tokens_alone_tries_no_candidates() -> None:
    assert estimated({"tasks": ["specificity"], "proposals": 0}).questions == 10 * 1000 + 4 * 9


@pytest.mark.parametrize(("samples", "asked"), [(7, 10), (25, 20), (5000, 1000)])
def test_every_band_gives_the_same_number_and_one_at_least(samples: int, asked: int) -> None:
    assert estimated({"tasks": ["specificity"], "proposals": 0, "samples": samples}).questions == 10 * asked + 4 * 9


def test_texts_with_features_held_are_counted_at_every_judge_that_may_read_them() -> None:
    held = {"features": 6, "text_strengths": [0.5, 1.0], "openings": ["I", "You", "We"], "planted": 5}
    judge = {"tasks": ["fuzzing"]}
    more = estimated(judge, strengths=held).questions - estimated(judge).questions
    assert more == 6 * (1 + 2) * 3 + 5 * PLANTED_TEXTS
    assert estimated(judge, strengths={**held, "text_strengths": []}) == estimated(judge)
    rule = {"kind": "rule", "base_url": None, "model": None}
    assert estimated(rule, strengths=held) == estimated(rule)


def test_plan_says_what_the_labels_cost() -> None:
    said = row(tasks=["fuzzing"], input_price=2.0, output_price=8.0)
    assert ", 12 of them for labels that it writes" in said
    assert " tokens to read and " in said
    assert " by its prices" in said
    assert "labels" not in row(tasks=["fuzzing"], proposals=0)


def test_only_chat_models_can_be_asked_for_labels() -> None:
    with pytest.raises(ValueError, match="a judge of kind 'rule' cannot write labels"):
        JudgeConfig(kind="rule", proposals=3)
