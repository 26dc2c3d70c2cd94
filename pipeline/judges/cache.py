"""Answers on disk, by content: the same question is never asked twice, and a run that was killed goes on.

One file for each judge, one line of JSON for each answer, only ever added to. A line names its question by a hash of
all that decides the answer beside the judge; neither texts nor keys are kept. What was no answer is kept as none, for
it was paid for too; but not that of a judge that was given up for it, since another model may soon have its name.
"""

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from data.errors import NonsenseError
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


class KeptLines:
    """A file of lines of JSON, to which several commands may add at the same time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Iterator[list[Any]]:
        """All lines that are lists. One that was cut off by a kill is none."""
        if not self._path.is_file():
            return
        with self._path.open(errors="replace") as file:
            for line in file:
                try:
                    found = json.loads(line)
                except ValueError:
                    continue
                if isinstance(found, list):
                    yield found

    def add(self, rows: Iterable[list[Any]]) -> None:
        """Write rows behind the others."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        with self._path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not self._ends_well():
                file.write("\n")
            file.write(lines)

    def _ends_well(self) -> bool:
        """Whether the file ends with a whole line, or is empty."""
        with self._path.open("rb") as file:
            size = file.seek(0, 2)
            if size == 0:
                return True
            file.seek(-1, 2)
            return file.read(1) == b"\n"


@contextmanager
def holding_back(lines: KeptLines) -> Iterator[Callable[[Iterable[tuple[list[Any], bool]]], None]]:
    """Write rows, each with whether it can be used: at once those that can, the others at the end of the block.

    Of a judge that is given up for its nonsense the others are never written.
    """
    held: list[list[Any]] = []

    def add(rows: Iterable[tuple[list[Any], bool]]) -> None:
        now = []
        for row, is_usable in rows:
            (now if is_usable else held).append(row)
        lines.add(now)

    try:
        yield add
    except NonsenseError:
        held.clear()
        raise
    finally:
        lines.add(held)


class AnswerCache:
    """The answers of one judge that are on disk."""

    def __init__(self, folder: Path, judge: Judge) -> None:
        self._judge = judge
        self._lines = KeptLines(folder / f"{digest({'judge': judge.identity})}.jsonl")
        self._known = {key: answer for row in self._lines.read() for key, answer in _read(row)}

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
            found = dict(zip([keys[missing[place]] for place in places], answers, strict=True))
            write(([key, *answer], answer.is_usable) for key, answer in found.items())
            self._known.update(found)
            sums = sum(a.tokens_in for a in answers), sum(a.tokens_out for a in answers)
            spent = spent.plus(Usage(len(answers), 0, *sums))
            advance(len(places))

        if missing:
            with holding_back(self._lines) as write:
                self._judge.ask([questions[place] for place in missing], keep)
        return [self._known[key] for key in keys], spent

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


def _read(row: list[Any]) -> Iterator[tuple[str, Answer]]:
    """The answer of a line, if it is one."""
    if len(row) == 1 + len(Answer._fields):
        key, value, probabilities, tokens_in, tokens_out = row
        yield key, Answer(value, tuple(probabilities), tokens_in, tokens_out)
