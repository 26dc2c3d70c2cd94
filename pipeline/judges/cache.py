"""Answers on disk, by content: the same question is never asked twice, and a run that was killed goes on.

One file for each judge, one line of JSON for each answer, only ever added to. A line names its question by a hash of
all that decides the answer beside the judge; neither texts nor keys are kept. What was no answer is not kept: it is
asked again.
"""

import fcntl
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from data.manifests import digest
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
        self._path = folder / f"{digest({'judge': judge.identity})}.jsonl"
        self._known = _read(self._path)

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
        missing = list({key: place for place, key in enumerate(keys) if key not in self._known}.values())
        advance(len(questions) - len(missing))
        spent = Usage(kept=len(questions) - len(missing))

        def keep(places: Sequence[int], answers: Sequence[Answer]) -> None:
            nonlocal spent
            self._add([keys[missing[place]] for place in places], answers)
            sums = sum(a.tokens_in for a in answers), sum(a.tokens_out for a in answers)
            spent = spent.plus(Usage(len(answers), 0, *sums))
            advance(len(places))

        if missing:
            self._judge.ask([questions[place] for place in missing], keep)
        return [self._known[key] for key in keys], spent

    def _ask_freely(self, questions: Sequence[Question], advance: Callable[[int], None]) -> tuple[list[Answer], Usage]:
        found: dict[int, Answer] = {}

        def keep(places: Sequence[int], answers: Sequence[Answer]) -> None:
            found.update(zip(places, answers, strict=True))
            advance(len(places))

        self._judge.ask(questions, keep)
        return [found[place] for place in range(len(questions))], Usage(asked=len(questions))

    def _add(self, keys: Sequence[str], answers: Sequence[Answer]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        found = dict(zip(keys, answers, strict=True))
        lines = "".join(_line(key, answer) for key, answer in found.items() if answer.value is not None)
        with self._path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _ends_well(self._path):
                file.write("\n")
            file.write(lines)
        self._known.update(found)


def question_key(question: Question) -> str:
    """A hash of all that decides the answer to a question, beside the judge."""
    task = question.task
    parts = [task.name, task.version, question.label, question.text]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _line(key: str, answer: Answer) -> str:
    return json.dumps([key, answer.value, answer.probabilities, answer.tokens_in, answer.tokens_out]) + "\n"


def _read(path: Path) -> dict[str, Answer]:
    """All answers of a file. A line that was cut off by a kill is none."""
    known: dict[str, Answer] = {}
    if not path.is_file():
        return known
    with path.open(errors="replace") as file:
        for line in file:
            try:
                key, value, probabilities, tokens_in, tokens_out = json.loads(line)
            except (ValueError, TypeError):
                continue
            known[key] = Answer(value, tuple(probabilities), tokens_in, tokens_out)
    return known


def _ends_well(path: Path) -> bool:
    """Whether a file ends with a whole line, or is empty."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size == 0:
            return True
        file.seek(-1, 2)
        return file.read(1) == b"\n"
