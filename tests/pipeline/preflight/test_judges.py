"""Judges behind servers are tried before any work; all others, and recipes that ask nothing, are not."""

from typing import Any

import pytest

from pipeline.preflight.judges import judge_problems
from pipeline.recipe import ReadRecipe, load_recipe
from tests.support.openai_server import completion, refusal, scripted_server


def recipe_with(base_url: str, *settings: str, **judge: Any) -> ReadRecipe:
    fields = {"kind": "served", "base_url": base_url, "model": "m", "key_variable": "JUDGE_KEY", **judge}
    written = ", ".join(
        f'{name}="{value}"' if isinstance(value, str) else f"{name}={value}" for name, value in fields.items()
    )
    return ReadRecipe(
        load_recipe("sample", [f'score.judges=[{{kind="rule"}}, {{{written}}}]', *settings]), [], frozenset()
    )


def test_a_judge_that_answers_is_said_with_the_cost(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted_server(lambda number, body: completion("0")) as server:
        assert judge_problems(recipe_with(server.base_url, input_price=10.0)) == []
    assert len(server.requests) == 1
    said = capsys.readouterr().err
    assert f"judge 'served' at {server.base_url} can be asked (one question of 101 tokens, 0.001 by its prices)" in said


def test_a_judge_that_wants_a_key_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with scripted_server(lambda number, body: refusal(401, "who are you")) as server:
        (problem,) = judge_problems(recipe_with(server.base_url))
    assert problem.endswith("wants a key (401): put one into JUDGE_KEY")


def test_a_recipe_that_judges_nothing_asks_nothing() -> None:
    with scripted_server(lambda number, body: refusal(500, "never")) as server:
        assert judge_problems(recipe_with(server.base_url, "score.features=0")) == []
    assert server.requests == []
