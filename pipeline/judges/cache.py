"""Answers on disk, by content: the same question is never asked twice, and a run that was killed goes on.

One file for each judge, one line of JSON for each answer, only ever added to. A line names its question by a hash of
all that decides the answer beside the judge; neither texts nor keys are kept. What was no answer is kept as none, for
it was paid for too; but not that of a judge with too much of it, since another model may soon have its name.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data.manifests import digest
from pipeline.judges.kept import MAX_NONSENSE, KeptLines, KeptRows, holding_back
from pipeline.judges.protocol import Answer, Judge, Question


class Usage(NamedTuple):
    """The work that questions took."""

    asked: int = 0
    """Questions that the judge was asked now."""
    kept: int = 0
    """Questions whose answers were there."""
    tokens_in: int = 0
    """Of those asked now, as the judge counts them."""
    tokens_out: int = 0

    def plus(self, other: "Usage") -> "Usage":
        return Usage(*(one + another for one, another in zip(self, other, strict=True)))


class AnswerCache:
    """The answers of one judge that are on disk."""

    def __init__(self, folder: Path, judge: Judge) -> None:
        self._judge = judge
        self._rows = KeptRows(KeptLines(folder / f"{digest({'judge': judge.identity})}.jsonl"))

    def ask(
        self, questions: Sequence[Question], advance: Callable[[int], None] = lambda count: None
    ) -> tuple[list[Answer], Usage]:
        """The answers to some questions, those that are not known from the judge; equal questions are asked once.

        advance: told of every number of questions that is answered. Raises what the judge raises; whatever it answered
        until then is on disk.
        """
        if not self._judge.keeps:
            return self._ask_freely(questions, advance)
        keys = [question_key(question) for question in questions]
        known = {key: answer for key, row in self._rows.find(list(set(keys))).items() if (answer := _read(row))}
        missing = list({key: place for place, key in enumerate(keys) if key not in known}.values())
        advance(len(questions) - len(missing))
        spent = Usage(kept=len(questions) - len(missing))

        def keep(places: Sequence[int], answers: Sequence[Answer]) -> None:
            nonlocal spent
            found = dict(zip([keys[missing[place]] for place in places], answers, strict=True))
            write(([key, *answer], answer.is_usable) for key, answer in found.items())
            known.update(found)
            sums = sum(a.tokens_in for a in answers), sum(a.tokens_out for a in answers)
            spent = spent.plus(Usage(len(answers), 0, *sums))
            advance(len(places))

        if missing:
            with holding_back(self._rows.add, MAX_NONSENSE) as write:
                self._judge.ask([questions[place] for place in missing], keep)
        return [known[key] for key in keys], spent

    def _ask_freely(self, questions: Sequence[Question], advance: Callable[[int], None]) -> tuple[list[Answer], Usage]:
        found: dict[int, Answer] = {}

        def keep(places: Sequence[int], answers: Sequence[Answer]) -> None:
            found.update(zip(places, answers, strict=True))
            advance(len(places))

        self._judge.ask(questions, keep)
        return [found[place] for place in range(len(questions))], Usage(asked=len(questions))


def question_key(question: Question) -> str:
    """A hash of all that decides the answer to a question, beside the judge."""
    task = question.task
    return content_key([task.name, task.version, question.label, question.text])


def content_key(parts: Sequence[str | int]) -> str:
    """A hash of texts and numbers."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _read(row: list[Any]) -> Answer | None:
    """The answer of a line, if it is one."""
    if len(row) != 1 + len(Answer._fields):
        return None
    _, value, probabilities, tokens_in, tokens_out = row
    return Answer(value, tuple(probabilities), tokens_in, tokens_out)
