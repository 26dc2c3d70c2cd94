"""Labels that judges write: what is read of an answer, and that none is paid for twice."""

from pathlib import Path

import pytest

from pipeline.judges.cache import AnswerCache
from pipeline.judges.proposing import LONGEST, SHOWN, ProposalCache, Proposer, proposal_messages, read_label
from pipeline.judges.protocol import Question
from pipeline.judges.sentences import SentenceJudge
from pipeline.judges.tasks import SPECIFICITY
from tests.support.judges import FunctionProposer

TEXTS = [f"100%: in<< May>> {number}" for number in range(6)]


@pytest.mark.parametrize(
    ("written", "label"),
    [
        ("months", "months"),
        ("\n\nLabel: months of the year.\nBecause they are marked", "months of the year"),
        ('"months"', "months"),
        ('"of" after an office', '"of" after an office'),
        ('"of" or "in"', '"of" or "in"'),
        ('"months of a year."', "months of a year"),
        ('"."', '"."'),
        ('"of"', '"of"'),
        ("**Months**", "Months"),
        ("月", "月"),
        ("<think>\nWhat is marked?\n</think>\n\nmonths", "months"),
        ("<think>\nWhat is", None),
        ("  ", None),
        ('""', None),
        ("x" * (LONGEST + 1), None),
        ("in<< May>>", None),
        ("a\x1bb", None),
    ],
)
def test_a_label_is_read_from_what_was_written(written: str, label: str | None) -> None:
    assert read_label(written) == label


def test_examples_come_before_what_is_shown() -> None:
    messages = proposal_messages("100%: x")
    assert [message.role for message in messages] == ["system", *["user", "assistant"] * len(SHOWN), "user"]
    assert messages[-1].content == "100%: x"
    assert all(read_label(label) == label for _, label in SHOWN)


def test_a_label_is_asked_for_once(tmp_path: Path) -> None:
    judge = FunctionProposer(lambda text: text[-1], lambda question: 1.0)
    proposals, usage = ProposalCache(tmp_path, judge).ask([*TEXTS, TEXTS[0]])
    assert [proposal.label for proposal in proposals] == [*"012345", "0"]
    assert (usage.asked, usage.kept, usage.tokens_in, usage.tokens_out) == (6, 1, 600, 24)
    again, usage = ProposalCache(tmp_path, judge).ask(TEXTS)
    assert again == proposals[:6]
    assert (usage.asked, usage.kept) == (0, 6)


def test_a_proposer_that_fails_goes_on_where_it_stopped(tmp_path: Path) -> None:
    gone = FunctionProposer(lambda text: text[-1], lambda question: 1.0, fail_after=4)
    with pytest.raises(RuntimeError):
        ProposalCache(tmp_path, gone).ask(TEXTS)
    for file in tmp_path.iterdir():
        file.write_text(file.read_text() + '["cut off')
    judge = FunctionProposer(lambda text: text[-1], lambda question: 1.0)
    assert [proposal.label for proposal in ProposalCache(tmp_path, judge).ask(TEXTS)[0]] == [*"012345"]
    assert judge.shown == TEXTS[4:]


def test_no_label_is_kept_as_none_for_it_was_paid_for(tmp_path: Path) -> None:
    judge = FunctionProposer(lambda text: None, lambda question: 1.0)
    for _ in range(2):
        assert ProposalCache(tmp_path, judge).ask(TEXTS[:1])[0][0].label is None
    assert len(judge.shown) == 1


def test_answers_and_labels_of_one_judge_are_kept_apart(tmp_path: Path) -> None:
    judge = FunctionProposer(lambda text: "months", lambda question: 3.0)
    ProposalCache(tmp_path, judge).ask(TEXTS)
    answers, usage = AnswerCache(tmp_path, judge).ask([Question(SPECIFICITY, "months", "<<May>>")])
    assert answers[0].value == 3.0
    assert usage.asked == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_who_can_write_is_a_proposer() -> None:
    assert isinstance(FunctionProposer(lambda text: "", lambda question: 1.0), Proposer)
    assert not hasattr(SentenceJudge, "propose")
