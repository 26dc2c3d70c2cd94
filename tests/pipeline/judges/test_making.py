"""Judges as a recipe asks for them: a chat model that cannot read the questions is left out, and says so."""

from pathlib import Path
from typing import Any, cast

import pytest

from pipeline.judges.local import LocalJudge
from pipeline.judges.making import LEAST_CONTEXT, Materials, make_judge
from pipeline.judges.protocol import Question
from pipeline.judges.tasks import SPECIFICITY
from pipeline.models.errors import ModelError
from pipeline.recipe import load_recipe
from pipeline.recipe.judging import JudgeConfig
from tests.support.chat_model import make_chat_model


def made(folder: Path, context: int) -> Any:
    none = cast(Any, None)
    model = make_chat_model(folder / "model", context=context)
    materials = Materials(load_recipe("sample"), none, none, None, "", model, "tiny")
    return make_judge(JudgeConfig(kind="local"), materials)


def test_a_chat_model_of_a_short_context_is_left_out(tmp_path: Path) -> None:
    reason = made(tmp_path, LEAST_CONTEXT - 1)
    assert isinstance(reason, str)
    assert f"tiny reads at most {LEAST_CONTEXT - 1} tokens" in reason
    assert "name another model" in reason


def test_a_question_beyond_the_context_is_refused_before_it_is_read(tmp_path: Path) -> None:
    judge = made(tmp_path, LEAST_CONTEXT)
    assert isinstance(judge, LocalJudge)
    with pytest.raises(ModelError, match=r"a question has [0-9,]+ tokens, and tiny reads at most 1,024: lower"):
        judge.ask([Question(SPECIFICITY, "label", "word " * LEAST_CONTEXT)], lambda numbers, answers: None)
