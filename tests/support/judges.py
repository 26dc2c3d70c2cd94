"""Judges for tests: one that answers by a function, and counts what it is asked."""

from collections.abc import Callable, Sequence

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
