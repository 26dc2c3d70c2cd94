"""Judges as a recipe asks for them: a chat model that cannot read the questions is left out, and says so."""

import tomllib
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError
from tokenizers import Regex, normalizers

from data.errors import ConfigError
from pipeline.judges.local import LocalJudge
from pipeline.judges.making import LEAST_CONTEXT, Materials, make_judge
from pipeline.judges.protocol import Answer, Question
from pipeline.judges.tasks import SPECIFICITY
from pipeline.models.errors import ModelError
from pipeline.recipe import RECIPES, load_recipe
from pipeline.recipe.judging import JudgeConfig, ScoreConfig
from tests.support.chat_model import GEMMA, LLAMA_2, make_chat_model
from tests.support.tokenizers import metaspace_tokenizer

SERVED = {"kind": "served", "base_url": "http://127.0.0.1:1/v1", "model": "m"}


def made(folder: Path, context: int = 4096, overrides: Sequence[str] = (), **model_is: Any) -> Any:
    none = cast(Any, None)
    model = make_chat_model(folder / "model", context=context, **model_is)
    materials = Materials(load_recipe("sample", overrides), none, none, None, "", model, "tiny")
    return make_judge(JudgeConfig(kind="local"), materials)


def test_a_chat_model_of_a_short_context_is_left_out(tmp_path: Path) -> None:
    reason = made(tmp_path, LEAST_CONTEXT - 1)
    assert isinstance(reason, str)
    assert f"tiny reads at most {LEAST_CONTEXT - 1:,} tokens" in reason
    assert "name another model" in reason


def test_a_chat_model_that_cannot_read_texts_as_long_as_the_recipe_asks_is_left_out(tmp_path: Path) -> None:
    assert isinstance(made(tmp_path / "usual"), LocalJudge)
    reason = made(tmp_path / "long", overrides=["score.context=1000"])
    assert "tiny reads at most 4,096 tokens" in reason
    assert "lower score.context" in reason


def test_a_chat_model_that_cannot_read_texts_as_long_as_strengths_writes_is_left_out(tmp_path: Path) -> None:
    longer = ["strengths.new_tokens=2000"]
    reason = made(tmp_path / "long", overrides=longer)
    assert "tiny reads at most 4,096 tokens" in reason
    assert reason.endswith("or lower strengths.new_tokens.")
    assert isinstance(made(tmp_path / "none", overrides=[*longer, "strengths.features=0"]), LocalJudge)


def test_a_question_beyond_the_context_is_refused_before_it_is_read(tmp_path: Path) -> None:
    judge = made(tmp_path, 2048)
    assert isinstance(judge, LocalJudge)
    with pytest.raises(ModelError, match=r"a question has [0-9,]+ tokens, and tiny reads at most 2,048: lower"):
        judge.ask([Question(SPECIFICITY, "label", "word " * 2048)], lambda numbers, answers: None)


@pytest.mark.parametrize("template", [GEMMA, LLAMA_2])
def test_a_template_without_system_messages_is_asked_all_the_same(tmp_path: Path, template: str) -> None:
    judge = made(tmp_path, template=template, tokenizer=metaspace_tokenizer(list("0123")))
    assert isinstance(judge, LocalJudge)
    found: list[Answer] = []
    judge.ask([Question(SPECIFICITY, "label", "a<< text>>")], lambda numbers, answers: found.extend(answers))
    assert sum(found[0].probabilities) == pytest.approx(1)


def test_a_model_whose_template_refuses_every_question_is_left_out(tmp_path: Path) -> None:
    reason = made(tmp_path, template="{{ raise_exception('no chat today') }}")
    assert isinstance(reason, str)
    assert "tiny cannot be asked" in reason
    assert "no chat today" in reason
    assert "name another model as `model` of this judge." in reason


def test_a_model_whose_answers_end_alike_is_left_out(tmp_path: Path) -> None:
    tokenizer = metaspace_tokenizer([])
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace(Regex("[0-9]$"), "9")
    reason = made(tmp_path, template="{{ messages[-1]['content'] }}", tokenizer=tokenizer)
    assert isinstance(reason, str)
    assert "tiny" in reason
    assert "name another model" in reason


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({**SERVED, "max_cost": 3.0}, "max_cost is counted by input_price and output_price"),
        ({**SERVED, "base_url": "http://me:secret@127.0.0.1:1/v1"}, "base_url holds a user or password: take it out"),
        ({**SERVED, "base_url": "http://secret@127.0.0.1:1/v1"}, "base_url holds a user or password"),
        ({"kind": "local", "extra_body": {"a": 1}}, "takes no extra_body"),
        ({**SERVED, "extra_body": {"messages": []}}, "may not set messages"),
        ({**SERVED, "extra_body": {"a": {"b": float("nan")}}}, "a number that JSON has not"),
        ({**SERVED, "extra_body": {"a": object()}}, "extra_body"),
    ],
)
def test_what_a_recipe_may_not_say_of_a_judge(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        JudgeConfig.model_validate(fields)


def test_a_password_in_an_address_is_not_repeated(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    sample = (RECIPES / "sample.toml").read_text()
    judge = '[[score.judges]]\nkind = "served"\nmodel = "m"\nbase_url = "http://me:hunter2@127.0.0.1/v1"\n'
    recipe.write_text(f"{sample}\n{judge}")
    with pytest.raises(ConfigError, match="base_url holds a user or password") as e:
        load_recipe(str(recipe))
    assert "hunter2" not in str(e.value)


def test_a_field_that_is_not_set_changes_no_key() -> None:
    plain = JudgeConfig.model_validate(SERVED)
    assert "extra_body" not in plain.model_dump(mode="json")
    assert plain.model_copy(update={"extra_body": {"a": 1}}).model_dump(mode="json")["extra_body"] == {"a": 1}


def test_the_example_of_the_documentation_is_a_recipe() -> None:
    lines = (Path(__file__).parents[3] / "docs" / "running.md").read_text().splitlines()
    example = takewhile(lambda line: not line or line.startswith("    "), lines[lines.index("    [score]") :])
    config = ScoreConfig.model_validate(tomllib.loads("\n".join(example))["score"])
    assert config.judges[1].extra_body == {"chat_template_kwargs": {"enable_thinking": False}}
