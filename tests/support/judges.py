"""Judges for tests: one that answers by a function, and counts what it is asked."""

from collections.abc import Callable, Sequence

from pipeline.judges.proposing import KeepProposals, Proposal
from pipeline.judges.protocol import Answer, Keep, Question


class FunctionJudge:
    """Answers what a function says, one question after the other."""

    name, keeps, about = "function", True, "a function"

    def __init__(self, answer: Callable[[Question], float | None], identity: str = "function", fail_after: int = -1):
        self._answer, self.identity, self._fail_after = answer, identity, fail_after
        self.asked: list[Question] = []

    def ask(self, questions: Sequence[Question], keep: Keep) -> None:
        for number, question in enumerate(questions):
            if len(self.asked) == self._fail_after:
                raise RuntimeError("the judge is gone")
            self.asked.append(question)
            keep([number], [Answer(self._answer(question), (), 10, 1)])


class FunctionProposer(FunctionJudge):
    """Writes what another function says, too."""

    def __init__(
        self, label: Callable[[str], str | None], answer: Callable[[Question], float | None], fail_after: int = -1
    ) -> None:
        super().__init__(answer, "proposer")
        self._label, self._fail_after_labels = label, fail_after
        self.shown: list[str] = []

    def propose(self, texts: Sequence[str], keep: KeepProposals) -> None:
        for number, text in enumerate(texts):
            if len(self.shown) == self._fail_after_labels:
                raise RuntimeError("the judge is gone")
            self.shown.append(text)
            keep([number], [Proposal(self._label(text), 100, 4)])
