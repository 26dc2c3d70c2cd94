"""Answers on disk: asked once, kept through a failure, apart for each judge."""

import dataclasses
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest

from data.errors import NonsenseError
from pipeline.judges.cache import AnswerCache, Usage, question_key
from pipeline.judges.protocol import Answer, Place, Question
from pipeline.judges.tasks import DETECTION, SPECIFICITY
from tests.support.judges import FunctionJudge


def questions(count: int) -> list[Question]:
    return [Question(SPECIFICITY, "months", f"in<< May>> {n}", "", (Place(n, 0),)) for n in range(count)]


def test_equal_questions_are_asked_once_and_a_rerun_asks_nothing(tmp_path: Path) -> None:
    judge = FunctionJudge(lambda question: len(question.text) % 4)
    asked = questions(5) + questions(3)
    answers, usage = AnswerCache(tmp_path, judge).ask(asked)
    assert [answer.value for answer in answers] == [len(question.text) % 4 for question in asked]
    assert len(judge.asked) == 5
    assert usage == Usage(asked=5, kept=3, tokens_in=50, tokens_out=5)
    again, usage = AnswerCache(tmp_path, judge).ask(asked)
    assert again == answers
    assert usage == Usage(0, 8, 0, 0)
    assert len(judge.asked) == 5


def test_what_was_answered_before_a_failure_is_never_asked_again(tmp_path: Path) -> None:
    broken = FunctionJudge(lambda question: 1.0, fail_after=7)
    with pytest.raises(RuntimeError):
        AnswerCache(tmp_path, broken).ask(questions(10))
    judge = FunctionJudge(lambda question: 2.0)
    answers, usage = AnswerCache(tmp_path, judge).ask(questions(10))
    assert usage.asked == 3
    assert [answer.value for answer in answers] == [1.0] * 7 + [2.0] * 3


@pytest.mark.parametrize("fail_after", [-1, 5])
def test_what_was_no_answer_is_paid_for_once(tmp_path: Path, fail_after: int) -> None:
    judge = FunctionJudge(lambda question: None if question.text.endswith("3") else 1.0, fail_after=fail_after)
    with nullcontext() if fail_after < 0 else pytest.raises(RuntimeError):
        AnswerCache(tmp_path, judge).ask(questions(9))
    answers, usage = AnswerCache(tmp_path, judge).ask(questions(5))
    assert [answer.value for answer in answers] == [1.0, 1.0, 1.0, None, 1.0]
    assert usage == Usage(0, 5, 0, 0)


@pytest.mark.parametrize("fail_after", [-1, 5])
def test_a_judge_with_too_much_nonsense_is_asked_again_whatever_ended_it(tmp_path: Path, fail_after: int) -> None:
    judge = FunctionJudge(lambda question: None if question.text[-1] in "13" else 1.0, fail_after=fail_after)
    with nullcontext() if fail_after < 0 else pytest.raises(RuntimeError):
        AnswerCache(tmp_path, judge).ask(questions(8))
    answers, usage = AnswerCache(tmp_path, FunctionJudge(lambda question: 2.0)).ask(questions(5))
    assert [answer.value for answer in answers] == [1.0, 2.0, 1.0, 2.0, 1.0]
    assert usage.asked == 2


def test_a_judge_that_was_given_up_for_its_nonsense_is_asked_again(tmp_path: Path) -> None:
    def answer(question: Question) -> float | None:
        if question.text.endswith("3"):
            raise NonsenseError("it answers nonsense")
        return 1.0 if question.text.endswith("0") else None

    with pytest.raises(NonsenseError):
        AnswerCache(tmp_path, FunctionJudge(answer)).ask(questions(4))
    _, usage = AnswerCache(tmp_path, FunctionJudge(lambda question: 2.0)).ask(questions(4))
    assert usage.asked == 3


def test_a_line_cut_off_by_a_kill_costs_that_answer_alone(tmp_path: Path) -> None:
    judge = FunctionJudge(lambda question: 1.0)
    AnswerCache(tmp_path, judge).ask(questions(4))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    _, usage = AnswerCache(tmp_path, judge).ask(questions(6))
    assert usage.asked == 3
    assert AnswerCache(tmp_path, judge).ask(questions(6))[1].asked == 0


def test_another_judge_task_version_or_label_is_another_question(tmp_path: Path) -> None:
    (one,) = questions(1)
    others = [
        dataclasses.replace(one, label="years"),
        dataclasses.replace(one, text="in May 0"),
        dataclasses.replace(one, task=DETECTION),
        dataclasses.replace(one, task=dataclasses.replace(SPECIFICITY, version=2)),
    ]
    assert len({question_key(question) for question in [one, *others]}) == 5
    assert question_key(dataclasses.replace(one, places=())) == question_key(one)
    AnswerCache(tmp_path, FunctionJudge(lambda question: 1.0)).ask([one])
    other = FunctionJudge(lambda question: 0.0, identity="another")
    assert AnswerCache(tmp_path, other).ask([one])[0] == [Answer(0.0, (), 10, 1)]


def test_two_runs_at_once_share_a_file(tmp_path: Path) -> None:
    judge = FunctionJudge(lambda question: 3.0)

    def work(first: int) -> None:
        AnswerCache(tmp_path, judge).ask(questions(400)[first : first + 200])

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert AnswerCache(tmp_path, judge).ask(questions(400))[1].asked == 0


def test_neither_labels_nor_texts_are_on_disk(tmp_path: Path) -> None:
    AnswerCache(tmp_path, FunctionJudge(lambda question: 1.0)).ask(questions(2))
    (file,) = tmp_path.iterdir()
    assert "May" not in file.read_text()
    assert "months" not in file.read_text()
