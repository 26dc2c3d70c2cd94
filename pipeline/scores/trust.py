"""How far a judge can be trusted: its answers where the truth is known.

The truth is a rule (pipeline/labels/rule.py): on any token of held-out text it holds or does not. Of each planted label
a judge is asked about texts where its rule holds (right), where it does not (wrong), and about texts where it holds
under the label of another feature whose rule does not (shuffled). See docs/method.md.

Shapes: L labels, T texts of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.scores import Trust
from pipeline.arrays import Ints
from pipeline.judges.protocol import Answer, Place, Question, Task
from pipeline.judges.rule import RuleTokens
from pipeline.labels.words import Words
from pipeline.scores.texts import WindowTexts

TEXTS = 3
"""Of each kind for each label."""
TRIES = 200
"""Tokens that are drawn at most in search of a text where a rule holds nowhere."""
RESAMPLES = 1000
Kind = Literal["right", "wrong", "shuffled"]
Doubles = npt.NDArray[np.float64]


class PlantedLabel(NamedTuple):
    """A label that is a rule."""

    text: str
    rule: str


@dataclass(frozen=True)
class Planted:
    """A question whose right answer is known."""

    label: int
    """Number of the label, of whose texts the question's is one."""
    kind: Kind
    question: Question

    @property
    def truth(self) -> float:
        return self.question.task.highest if self.kind == "right" else 0.0


class Planter:
    """Makes questions whose answers are known, from held-out text."""

    def __init__(
        self, corpus: TokenizedCorpus, words: Words, vocabulary: Sequence[bytes], sequences: Ints, context: int,
        seed: int,
    ) -> None:  # fmt: skip
        """sequences: numbers of those that are read."""
        self._texts, self._context, self._seed = WindowTexts(corpus, vocabulary), context, seed
        places = [(int(number), int(corpus.sequences["start"][number])) for number in sequences.tolist()]
        self._rules = RuleTokens(corpus, words, places)
        self._bounds = {
            int(n): (int(s), int(s) + int(k))
            for n, (_, s, k) in zip(sequences.tolist(), corpus.sequences[sequences].tolist(), strict=True)
        }

    def plant(self, labels: Sequence[PlantedLabel], count: int, task: Task) -> list[Planted]:
        """Questions about up to `count` labels, drawn at random, that hold somewhere and have wrong texts too."""
        rng = np.random.default_rng([self._seed, task.version, len(task.name)])
        order = rng.permutation(len(labels)).tolist()
        found: list[Planted] = []
        number = 0
        for place in order:
            if number == count:
                break
            some = self._of_label(labels, place, number, task, rng)
            found += some
            number += bool(some)
        return found

    def _of_label(
        self, labels: Sequence[PlantedLabel], place: int, number: int, task: Task, rng: np.random.Generator
    ) -> list[Planted]:
        """The questions of one label; none where its rule holds too seldom."""
        own = labels[place]
        holds = self._rules.tokens(own.rule)
        if len(holds) < TEXTS:
            return []
        at = [self._rules.place(int(n)) for n in rng.choice(holds, TEXTS, replace=False)]
        right = [self._question(task, own, one) for one in at]
        wrong = [q for _ in range(TEXTS) if (q := self._without(task, own, rng)) is not None]
        shuffled = [q for one in at if (q := self._shuffled(task, labels, place, one, rng)) is not None]
        if len(wrong) < TEXTS or len(shuffled) < TEXTS:
            return []
        kinds: list[tuple[Kind, list[Question]]] = [("right", right), ("wrong", wrong), ("shuffled", shuffled)]
        return [Planted(number, kind, question) for kind, questions in kinds for question in questions]

    def _question(self, task: Task, label: PlantedLabel, place: tuple[int, int]) -> Question:
        """A label, and the text around a token."""
        sequence, position = place
        first, last = self._bounds[sequence]
        start, stop = max(first, position - self._context), min(last, position + self._context + 1)
        if task.subject == "marked":
            places: tuple[Place, ...] = (Place(sequence, position),)
            text = self._texts.text(sequence, start, stop, {position - start})
        else:
            places = tuple(Place(sequence, at) for at in range(start, stop))
            text = self._texts.text(sequence, start, stop)
        return Question(task, label.text, text, label.rule, places)

    def _without(self, task: Task, label: PlantedLabel, rng: np.random.Generator) -> Question | None:
        """A text where the label's rule does not hold."""
        for _ in range(TRIES):
            place = self._rules.place(int(rng.integers(self._rules.num_tokens)))
            question = self._question(task, label, place)
            if not self._rules.holds(label.rule, question.places).any():
                return question
        return None

    def _shuffled(
        self, task: Task, labels: Sequence[PlantedLabel], own: int, place: tuple[int, int], rng: np.random.Generator
    ) -> Question | None:
        """The same text under the label of another, whose rule does not hold there."""
        for other in rng.permutation(len(labels))[:TRIES].tolist():
            question = self._question(task, labels[other], place)
            differs = other != own and labels[other].text != labels[own].text
            if differs and not self._rules.holds(labels[other].rule, question.places).any():
                return question
        return None


def first_labels(planted: Sequence[Planted], count: int) -> list[Planted]:
    """The questions of the first labels."""
    return [one for one in planted if one.label < count]


def measure_trust(planted: Sequence[Planted], answers: Sequence[Answer]) -> Trust | None:
    """The figures of a judge, from its answers to planted questions; None where it answered too few.

    A label counts if it has answers of every kind.
    """
    by_kind = {kind: _by_label(planted, answers, kind) for kind in _KINDS}
    labels = sorted(set.intersection(*(set(found) for found in by_kind.values())))
    if len(labels) < 2:
        return None
    right, wrong, shuffled = ([by_kind[kind][label] for label in labels] for kind in _KINDS)
    highest = planted[0].question.task.highest
    yes = np.concatenate(right)
    no = np.concatenate([*wrong, *shuffled])
    separation, low, high = separate(right, shuffled)
    return Trust(
        num_labels=len(labels),
        num_questions=len(yes) + len(no),
        agreement=float(((yes > highest / 2).mean() + (no < highest / 2).mean()) / 2),
        bias=float(((yes - highest).mean() + no.mean()) / (2 * highest)),
        separation=separation,
        low=low,
        high=high,
    )


_KINDS: tuple[Kind, ...] = ("right", "wrong", "shuffled")


def _by_label(planted: Sequence[Planted], answers: Sequence[Answer], kind: Kind) -> dict[int, Doubles]:
    """The answers about texts of one kind, by label."""
    found: dict[int, list[float]] = {}
    for one, answer in zip(planted, answers, strict=True):
        if one.kind == kind and answer.value is not None:
            found.setdefault(one.label, []).append(answer.value)
    return {label: np.array(values) for label, values in found.items()}


def separate(right: Sequence[Doubles], shuffled: Sequence[Doubles]) -> tuple[float, float, float]:
    """The probability that a right label is put above a shuffled one (a tie counts half), and its interval at 95%.

    right, shuffled: answers by label [L]. The interval is of 1,000 resamples of labels, always the same ones.
    """
    wins_LL = np.array([[_wins(one, other) for other in shuffled] for one in right])
    pairs_LL = np.array([[len(one) * len(other) for other in shuffled] for one in right], np.float64)
    rng = np.random.default_rng(0)
    weight_BL = rng.multinomial(len(right), np.full(len(right), 1 / len(right)), RESAMPLES).astype(np.float64)
    found_B = np.einsum("bi,ij,bj->b", weight_BL, wins_LL, weight_BL) / np.einsum(
        "bi,ij,bj->b", weight_BL, pairs_LL, weight_BL
    )
    low, high = np.quantile(found_B, (0.025, 0.975)).tolist()
    return float(wins_LL.sum() / pairs_LL.sum()), low, high


def _wins(one: Doubles, other: Doubles) -> float:
    above, same = one[:, None] > other, one[:, None] == other
    return float(above.sum() + same.sum() / 2)
