"""A chat model on this machine: batches and the shared beginning change nothing; probabilities are the model's own."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.judges.local import LocalJudge, batches
from pipeline.judges.proposing import MAX_TOKENS, Proposal, proposal_messages, read_label
from pipeline.judges.protocol import Answer, Question, chat_messages
from pipeline.judges.tasks import DETECTION, SPECIFICITY
from pipeline.models.tokenizer import Tokenizer
from tests.support.chat_model import make_chat_model

QUESTIONS = [
    Question(task, label, text)
    for task in (SPECIFICITY, DETECTION)
    for label, text in (("months", "in<< May>> 1832"), ("rivers", "the<< old bridge over the river>>"), ("x", "<<y>>"))
]


@pytest.fixture(scope="module", params=["llama", "neox"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat_model(tmp_path_factory.mktemp("chat"), llama=request.param == "llama")


def make_judge(folder: Path, batch_tokens: int, dtype: str = "float32") -> LocalJudge:
    tokenizer = Tokenizer.load(folder)
    return LocalJudge.load(folder, tokenizer, "tiny", dtype=dtype, device="cpu", batch_tokens=batch_tokens)


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


def test_it_answers_and_writes_in_bfloat16_where_there_is_no_onednn(folder: Path, hidden: None) -> None:
    judge = make_judge(folder, 10_000, "bfloat16")
    for answer, true in zip(ask(judge, QUESTIONS), ask(make_judge(folder, 10_000), QUESTIONS), strict=True):
        assert answer.probabilities == pytest.approx(true.probabilities, abs=0.02)
    found: dict[int, Proposal] = {}
    judge.propose(["100%: in<< May>> 1832"], lambda at, proposals: found.update(zip(at, proposals, strict=True)))
    assert found[0].tokens_in > 0


def test_other_weights_of_the_same_name_and_size_are_another_judge(tmp_path: Path) -> None:
    one, other = (make_chat_model(tmp_path / part / "chat") for part in ("a", "b"))
    assert make_judge(one, 1).identity == make_judge(other, 1).identity
    tensors = load_file(other / "model.safetensors")
    save_file({name: 2 * tensor for name, tensor in tensors.items()}, other / "model.safetensors", {"format": "pt"})
    assert make_judge(one, 1).identity != make_judge(other, 1).identity


@pytest.mark.parametrize("batch_tokens", [1, 100_000])
def test_labels_are_what_the_model_writes_by_itself(folder: Path, batch_tokens: int) -> None:
    judge, tokenizer = make_judge(folder, batch_tokens), Tokenizer.load(folder)
    texts = ["100%: in<< May>> 1832", "100%: the<< old bridge over the river>>\nNot:<< x>>", "1%: y"]
    found: dict[int, Proposal] = {}
    judge.propose(texts, lambda at, proposals: found.update(zip(at, proposals, strict=True)))
    for number, text in enumerate(texts):
        tokens = tokenizer.chat(proposal_messages(text)).tokens
        with torch.no_grad():
            ids = torch.tensor([tokens])
            written = judge._model.generate(ids, do_sample=False, max_new_tokens=MAX_TOKENS, pad_token_id=1)
        new = written[0, len(tokens) :].tolist()
        over = next((n for n in range(len(new)) if judge._is_written(new[: n + 1])), len(new))
        assert found[number] == Proposal(read_label(tokenizer.decode(new[:over])), len(tokens), over)


def test_batches_hold_like_lengths_up_to_a_limit() -> None:
    lengths = [5, 9, 3, 9, 40, 1]
    found = list(batches(lengths, 20))
    assert sorted(n for batch in found for n in batch) == list(range(6))
    assert all(len(batch) == 1 or len(batch) * max(lengths[n] for n in batch) <= 20 for batch in found)
    assert found[0] == [4]
