"""The judge that is the label's own rule: exact where a label is one, silent where it is none.

It says how far a feature keeps to its label over the whole range of its activations. It cannot say that a label is
badly worded, for it never reads it.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from data.artifacts.corpus import TokenizedCorpus
from pipeline.arrays import Ints
from pipeline.judges.protocol import Answer, Keep, Question
from pipeline.labels.rule import Rule
from pipeline.labels.text import RuleText
from pipeline.labels.words import Words

TEXT_TOKENS = 2_000_000
"""Tokens that are indexed at once."""
NO_SEQUENCES: Ints = np.empty(0, np.int64)


class RuleJudge:
    """Tries rules on the tokens that questions are about."""

    name = "rule"
    identity = "rule 1"
    keeps = False
    about = "the label's own rule, tried on the tokens themselves: exact, and without a model"

    def __init__(self, corpus: TokenizedCorpus, words: Words) -> None:
        self._corpus, self._words = corpus, words

    def ask(self, questions: Sequence[Question], keep: Keep) -> None:
        """The highest answer where the rule holds (at every marked token; anywhere in a whole text), else 0."""
        for numbers in self._chunks(questions):
            text = RuleTokens(self._corpus, self._words, (place for n in numbers for place in questions[n].places))
            keep(numbers, [_answer(text, questions[n]) for n in numbers])

    def _chunks(self, questions: Sequence[Question]) -> Iterator[list[int]]:
        """Numbers of questions, by rule, whose sequences are together of TEXT_TOKENS tokens."""
        lengths_S = self._corpus.sequences["length"]
        chunk: list[int] = []
        seen: set[int] = set()
        total = 0
        for number in sorted(range(len(questions)), key=lambda n: questions[n].rule):
            new = {place.sequence for place in questions[number].places} - seen
            size = int(sum(lengths_S[sequence] for sequence in new))
            if chunk and total + size > TEXT_TOKENS:
                yield chunk
                chunk, seen, total = [], set(), 0
                new = {place.sequence for place in questions[number].places}
                size = int(sum(lengths_S[sequence] for sequence in new))
            chunk.append(number)
            seen |= new
            total += size
        if chunk:
            yield chunk


class RuleTokens:
    """Rules on some sequences of a corpus, by the places of tokens."""

    def __init__(self, corpus: TokenizedCorpus, words: Words, places: Iterable["tuple[int, int]"]) -> None:
        self.sequences = np.unique(np.array([place[0] for place in places], np.int64))
        self._start_S = corpus.sequences["start"][self.sequences].astype(np.int64)
        lengths_S = corpus.sequences["length"][self.sequences].astype(np.int64)
        self._first_S = np.cumsum(lengths_S) - lengths_S
        self._text = RuleText(corpus, words, self.sequences, NO_SEQUENCES, lambda numbers: np.ones(len(numbers), bool))
        self._rule, self._tokens = "", NO_SEQUENCES

    @property
    def num_tokens(self) -> int:
        return self._text.num_tokens

    def tokens(self, rule: str) -> Ints:
        """Numbers of the tokens at which a rule holds, ascending."""
        if rule != self._rule:
            self._rule, self._tokens = rule, self._text.tokens(Rule.from_json(rule))
        return self._tokens

    def holds(self, rule: str, places: Sequence["tuple[int, int]"]) -> np.ndarray:
        """Whether a rule holds at each of some places, bool [N]."""
        tokens = self.tokens(rule)
        number_N = self.numbers(places)
        found_N = np.searchsorted(tokens, number_N)
        inside_N = found_N < len(tokens)
        inside_N[inside_N] = tokens[found_N[inside_N]] == number_N[inside_N]
        return inside_N

    def numbers(self, places: Sequence["tuple[int, int]"]) -> Ints:
        """The numbers of tokens in this text."""
        pairs_N2 = np.array(places, np.int64).reshape(-1, 2)
        at_N = np.searchsorted(self.sequences, pairs_N2[:, 0])
        numbers: Ints = self._first_S[at_N] + pairs_N2[:, 1] - self._start_S[at_N]
        return numbers

    def place(self, number: int) -> tuple[int, int]:
        """Sequence and position of a token by its number."""
        at = int(np.searchsorted(self._first_S, number, side="right")) - 1
        return int(self.sequences[at]), int(self._start_S[at]) + number - int(self._first_S[at])


def _answer(text: RuleTokens, question: Question) -> Answer:
    if not question.rule or not question.places:
        return Answer(None)
    holds = text.holds(question.rule, question.places)
    said = holds.all() if question.task.subject == "marked" else holds.any()
    return Answer(question.task.highest if said else 0.0)
