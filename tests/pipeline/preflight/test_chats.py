"""Conversations that the model's template does not take, and plain text that looks like a filled one."""

import json
from pathlib import Path
from typing import Any

import pytest

from data.layout import StorePaths
from pipeline.preflight.chats import find_marks
from pipeline.preflight.check import refuse_unfit
from pipeline.preflight.tokenizer import look_at_tokenizer
from pipeline.recipe import ReadRecipe, make_recipe
from tests.pipeline.preflight.conftest import Find
from tests.pipeline.preflight.test_model import only
from tests.support.chats import TALKS, add_special_token, make_talking_model, write_talks

BATCH = {"batch_size": 16, "saes": [{"architecture": "relu", "num_features": 8}]}


@pytest.fixture
def talking(tmp_path: Path) -> Path:
    return make_talking_model(tmp_path / "talking")


def chats(file: Path, **more: Any) -> dict[str, Any]:
    return {"source": "jsonl", "path": str(file), "turns": "assistant", **more}


def test_nothing_is_wrong(find: Find, talking: Path, tmp_path: Path) -> None:
    file = write_talks(tmp_path / "talks.jsonl")
    assert find(corpus=chats(file), model={"source": str(talking)}) == []


def test_a_model_without_a_template(find: Find, talking: Path, tmp_path: Path) -> None:
    (talking / "chat_template.jinja").unlink()
    said = only(find(corpus=chats(write_talks(tmp_path / "talks.jsonl")), model={"source": str(talking)}))
    assert said.startswith("the corpus holds conversations, and the model has no chat template to read them by")


def test_a_conversation_that_cannot_be_had(find: Find, talking: Path, tmp_path: Path) -> None:
    talks: list[Any] = [*TALKS[:5], [{"content": "Hi"}], *TALKS[5:]]
    file = write_talks(tmp_path / "talks.jsonl", talks)
    said = only(find(corpus=chats(file), model={"source": str(talking)}))
    assert said.startswith("talks.jsonl:6: message 1 has no role")
    assert find(corpus=chats(file, bad_conversations="skip"), model={"source": str(talking)}) == []


def test_texts_with_marks_of_a_template_are_told_and_read(
    talking: Path, store: StorePaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_special_token(talking, "<|turn|>")
    file = tmp_path / "texts.jsonl"
    texts = [f"Text {number}{'<|turn|>' if number < 5 else ' of some'}" for number in range(30)]
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    names: list[str] = []
    assert look_at_tokenizer(talking, "talking", [], names) is not None
    assert "<|turn|>" in names
    recipe = make_recipe(
        {
            "name": "test",
            "corpus": {"source": "jsonl", "path": str(file), "held_out_fraction": 0.3},
            "model": {"name": "tiny", "source": str(talking), "layer": 1, "dtype": "float32"},
            "tokenize": {"context_length": 64},
            "train": BATCH,
        }
    )
    assert find_marks(recipe.corpus, store, names).startswith("5 of 30 first documents hold '<|turn|>' as plain text")
    assert find_marks(recipe.corpus, store, ["<s>", "</s>"]) == ""
    with pytest.MonkeyPatch.context() as patch:  # its weights know one token fewer
        patch.setattr("pipeline.preflight.check.find_deeper", lambda *_: [])
        refuse_unfit(ReadRecipe(recipe, [], frozenset()), store.run("test"))
    assert "5 of 30 first documents hold '<|turn|>'" in capsys.readouterr().err
