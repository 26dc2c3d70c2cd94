"""A judge, what it is asked, and what it answers.

    Task       a kind of question: what is asked, and which answers are allowed
    Question   a label and a text, asked in the way of a task
    Answer     a number between the lowest and the highest allowed answer, or none
    Judge      answers questions

Whoever has something new to ask (candidates for labels, texts written with a feature held, whether a feature keeps to a
concept) makes a Task of it, and asks any judge.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from pipeline.models.chat_template import Message

Subject = Literal["marked", "text"]


@dataclass(frozen=True)
class Task:
    """A kind of question."""

    name: str
    version: int
    """Raised when the same questions get other answers, so that older ones are not taken for them."""
    instruction: str
    """The system message."""
    allowed: tuple[str, ...]
    """Texts of the allowed answers, the lowest first."""
    subject: Subject
    """What the label is held against: the marked tokens, or the text as a whole."""
    shown: tuple[tuple[str, str, str], ...] = ()
    """Label, text and right answer of examples that come before the question."""

    @property
    def highest(self) -> float:
        """Value of the last allowed answer; the first is worth 0, and each one more than the one before."""
        return float(len(self.allowed) - 1)


class Place(NamedTuple):
    """A token of the corpus."""

    sequence: int
    position: int
    """In its document."""


@dataclass(frozen=True)
class Question:
    """A label and a text."""

    task: Task
    label: str
    text: str
    """With the marks of pipeline/models/nearness.py around the tokens that it is about, if it is about some."""
    rule: str = ""
    """The label as a rule, see pipeline/labels/rule.py; "" where it is none."""
    places: tuple[Place, ...] = ()
    """The marked tokens; of a task about the whole text, all of its tokens."""

    @property
    def user_message(self) -> str:
        """The question in words."""
        return user_message(self.label, self.text)


def chat_messages(question: Question) -> list[Message]:
    """A question as a chat: what is asked, the examples, and the question itself."""
    messages = [Message("system", question.task.instruction)]
    for label, text, answer in question.task.shown:
        messages += [Message("user", user_message(label, text)), Message("assistant", answer)]
    return [*messages, Message("user", question.user_message)]


def fold_system(messages: Sequence[Message]) -> list[Message]:
    """The same chat for a model that takes no system message: its text stands before the first question."""
    first, *others = messages
    if first.role != "system":
        return [first, *others]
    return [Message("user", f"{first.content}\n\n{others[0].content}"), *others[1:]]


def user_message(label: str, text: str) -> str:
    """How a label and a text stand in a question."""
    return f"Label: {label}\nText: {text}"


class Answer(NamedTuple):
    """What a judge says to one question."""

    value: float | None
    """Between 0 and the task's highest: the mean over the allowed answers, by their probabilities, where the judge
    gives these. None where it cannot say."""
    probabilities: tuple[float, ...] = ()
    """Of the allowed answers, together 1; () where the judge gives none."""
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def is_usable(self) -> bool:
        return self.value is not None


class Judge(Protocol):
    """Answers questions."""

    name: str
    """On pages."""
    identity: str
    """Names everything but the question that decides an answer. Answers are kept under it."""
    keeps: bool
    """Whether answers are worth keeping on disk."""

    @property
    def about(self) -> str:
        """A sentence on what it is."""
        ...

    def ask(self, questions: Sequence[Question], keep: "Keep") -> None:
        """Answer all questions, in any order; `keep` is told of some as soon as they are answered.

        Raises JudgeError, or ModelError, when it cannot go on; what was told before counts.
        """
        ...


Keep = Callable[[Sequence[int], Sequence[Answer]], None]
"""Takes the numbers of some questions, and the answers to them."""


def expected_value(probabilities: Sequence[float]) -> Answer:
    """The answer that probabilities of the allowed answers give; none of them likely is no answer."""
    total = sum(probabilities)
    if not total > 0:
        return Answer(None)
    shares = tuple(p / total for p in probabilities)
    return Answer(sum(value * share for value, share in enumerate(shares)), shares)
