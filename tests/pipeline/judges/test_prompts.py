"""Prompts of chat models as they are met: the answer's token is the one that the template and tokenizer put there."""

from pathlib import Path

import pytest
import torch

from pipeline.judges.local import LocalJudge
from pipeline.judges.prompts import Prompts
from pipeline.judges.protocol import Answer, Question, chat_messages, fold_system
from pipeline.judges.tasks import DETECTION, SPECIFICITY, TASKS
from pipeline.models.chat_template import Message
from pipeline.models.tokenizer import Tokenizer
from tests.support.chat_model import LLAMA_2, TEMPLATE, THINKING, make_chat_model
from tests.support.tokenizers import SPACE, metaspace_tokenizer

QUESTIONS = [Question(task, "months", "in<< May>> 1832") for task in (SPECIFICITY, DETECTION)]


def vocabulary(tokenizer: Tokenizer) -> dict[str, int]:
    found: dict[str, int] = tokenizer._pretrained.get_vocab()
    return found


def test_the_system_text_stands_before_the_first_question() -> None:
    first, *others = chat_messages(QUESTIONS[0])
    folded = fold_system([first, *others])
    assert folded[0] == Message("user", f"{first.content}\n\n{others[0].content}")
    assert folded[1:] == others[1:]
    assert fold_system(others) == others


def test_an_answer_behind_a_blank_is_the_digit_and_not_the_blank(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(make_chat_model(tmp_path, template=LLAMA_2, tokenizer=metaspace_tokenizer(list("0123"))))
    prompts, named = Prompts(tokenizer, "tiny"), vocabulary(tokenizer)
    prompts.check()
    assert prompts.answer_ids(SPECIFICITY) == [named[digit] for digit in "0123"]
    assert {tokenizer.encode(digit)[0] for digit in "0123"} == {named[SPACE]}
    tokens = prompts.question(QUESTIONS[0])
    assert tokens[-1] == named[SPACE]
    answered = [*fold_system(chat_messages(QUESTIONS[0])), Message("assistant", "2")]
    assert tokenizer.converse(answered).tokens[: len(tokens) + 1] == [*tokens, named["2"]]


def test_thoughts_are_over_before_an_answer_where_the_template_shows_them_so(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(make_chat_model(tmp_path, template=THINKING))
    prompts = Prompts(tokenizer, "tiny")
    for tokens in (prompts.question(QUESTIONS[0]), prompts.proposal("100%: <<May>>")):
        assert tokenizer.decode(tokens).endswith("assistant\n<think>\n\n</think>\n\n")
    assert prompts.answer_ids(SPECIFICITY) == [tokenizer.encode(digit)[0] for digit in "0123"]


def test_a_usual_template_is_read_up_to_the_answer(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(make_chat_model(tmp_path))
    prompts = Prompts(tokenizer, "tiny")
    assert prompts.question(QUESTIONS[0]) == tokenizer.chat(chat_messages(QUESTIONS[0])).tokens


def test_a_template_that_shows_no_answer_at_the_end_is_asked_for_the_digit_alone(tmp_path: Path) -> None:
    template = TEMPLATE.replace("{% for", "{% if messages[-1]['role'] != 'user' %}{{ raise_exception('ask') }}"
                                "{% endif %}{% for", 1)  # fmt: skip
    tokenizer = Tokenizer.load(make_chat_model(tmp_path, template=template))
    assert Prompts(tokenizer, "tiny").answer_ids(DETECTION) == [tokenizer.encode(digit)[0] for digit in "01"]


@pytest.mark.parametrize("template", [LLAMA_2, THINKING])
def test_answers_are_the_models_own_probabilities_in_that_place(tmp_path: Path, template: str) -> None:
    folder = make_chat_model(tmp_path, template=template, tokenizer=metaspace_tokenizer(list("0123")))
    tokenizer = Tokenizer.load(folder)
    judge = LocalJudge.load(folder, tokenizer, "tiny", dtype="float32", device="cpu", batch_tokens=4096)
    found: dict[int, Answer] = {}
    judge.ask(QUESTIONS, lambda at, answers: found.update(zip(at, answers, strict=True)))
    for number, question in enumerate(QUESTIONS):
        said = chat_messages(question) if template == THINKING else fold_system(chat_messages(question))
        whole = tokenizer.converse([*said, Message("assistant", "1")]).tokens
        digits = [vocabulary(tokenizer)[digit] for digit in TASKS[question.task.name].allowed]
        last = max(place for place, token in enumerate(whole) if token == digits[1])
        with torch.no_grad():
            logits_V = judge._model(input_ids=torch.tensor([whole[:last]])).logits[0, -1]
        shares = torch.softmax(logits_V[digits].float(), 0).tolist()
        assert found[number].probabilities == pytest.approx(shares, abs=1e-4)
