"""A chat model on this machine: batches and the shared beginning change nothing; probabilities are the model's own."""

from pathlib import Path

import pytest
import torch

from pipeline.judges.local import LocalJudge, batches
from pipeline.judges.protocol import Answer, Question, chat_messages
from pipeline.judges.tasks import DETECTION, SPECIFICITY
from pipeline.models.tokenizer import Tokenizer
from tests.support.chat_model import make_chat_model

QUESTIONS = [
    Question(task, label, text)
    for task in (SPECIFICITY, DETECTION)
    for label, text in (("months", "in<< May>> 1832"), ("rivers", "the<< old bridge over the river>>"), ("x", "<<y>>"))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat_model(tmp_path_factory.mktemp("chat"))


def make_judge(folder: Path, batch_tokens: int) -> LocalJudge:
    tokenizer = Tokenizer.load(folder)
    return LocalJudge.load(folder, tokenizer, "tiny", dtype="float32", device="cpu", batch_tokens=batch_tokens)


def ask(judge: LocalJudge, questions: list[Question]) -> list[Answer]:
    found: dict[int, Answer] = {}
    judge.ask(questions, lambda at, answers: found.update(zip(at, answers, strict=True)))
    return [found[place] for place in range(len(questions))]


@pytest.mark.parametrize("batch_tokens", [1, 10_000])
def test_answers_are_the_models_own_probabilities(folder: Path, batch_tokens: int) -> None:
    judge, tokenizer = make_judge(folder, batch_tokens), Tokenizer.load(folder)
    for question, answer in zip(QUESTIONS, ask(judge, QUESTIONS), strict=True):
        tokens = tokenizer.chat(chat_messages(question)).tokens
        with torch.no_grad():
            logits_V = judge._model(input_ids=torch.tensor([tokens])).logits[0, -1]
        ids = [tokenizer.encode(text)[0] for text in question.task.allowed]
        shares = torch.softmax(logits_V[ids].float(), 0).tolist()
        assert answer.probabilities == pytest.approx(shares, abs=1e-4)
        assert answer.value == pytest.approx(sum(n * share for n, share in enumerate(shares)), abs=1e-3)
        assert answer.tokens_in == len(tokens)


def test_batches_hold_like_lengths_up_to_a_limit() -> None:
    lengths = [5, 9, 3, 9, 40, 1]
    found = list(batches(lengths, 20))
    assert sorted(n for batch in found for n in batch) == list(range(6))
    assert all(len(batch) == 1 or len(batch) * max(lengths[n] for n in batch) <= 20 for batch in found)
    assert found[0] == [4]
