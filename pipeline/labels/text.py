"""Text that rules are tried on: every word of it indexed once, so that a rule finds its tokens without reading it.

Tokens are numbered through: those of held-out sequences first, then those of training sequences. Tokens that are left
out everywhere (attention sinks) have a number and are found by no rule.

Shapes: N tokens, S sequences, L tokens of the longest, V words by folded number.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from data.artifacts.corpus import TokenizedCorpus
from pipeline.arrays import Ints, ranges
from pipeline.labels.background import affixes_of
from pipeline.labels.classes import CLASSES
from pipeline.labels.rule import AFTER, BEFORE, Condition, Part, Rule
from pipeline.labels.traits import Flags, KindTables, enclosed
from pipeline.labels.words import NONE, Words, WordWindows

NOTHING: Ints = np.empty(0, np.int64)
MAX_KEPT = 30_000_000
"""Token numbers of conditions that are remembered, in all."""
FEW = 32
"""Lists with less than one token in so many are united by sorting them, others by marking all tokens of the text."""


class RuleText:
    """Some sequences of a corpus, indexed by word."""

    def __init__(
        self, corpus: TokenizedCorpus, words: Words, held_out: Ints, training: Ints, counted: Callable[[Ints], Flags]
    ) -> None:
        """held_out, training: numbers of sequences; counted: which of some token numbers are not left out."""
        self._words = words
        sequences = np.concatenate([held_out, training]).astype(np.int64)
        lengths_S = corpus.sequences["length"][sequences].astype(np.int64)
        self._starts_S = np.cumsum(lengths_S) - lengths_S
        self._stops_S = self._starts_S + lengths_S
        self.num_tokens = int(lengths_S.sum())
        self.num_held_out = int(lengths_S[: len(held_out)].sum())
        ids_SL, inside_SL = _padded(corpus, sequences.tolist(), lengths_S, words.outside)
        found = words.windows(ids_SL)
        row_N, column_N = np.nonzero(inside_SL)
        self._sequence_N, self._ids_N = row_N, ids_SL[inside_SL]
        self._index(ids_SL, found, row_N, column_N)
        self._counted_N = counted(np.arange(self.num_tokens))
        self._marks_N = np.zeros(self.num_tokens, bool)
        self._known: dict[Condition, Ints] = {}
        self._kept = 0

    def tokens(self, rule: Rule) -> Ints:
        """Numbers of the counted tokens where the rule says that the feature is active, ascending."""
        found = sorted((self._of(condition) for condition in rule.conditions), key=len)
        tokens = found[0]
        for others in found[1:]:
            tokens = tokens[_among(tokens, others)]
        return tokens[self.are_part(rule.part, tokens)]

    def holds(self, condition: Condition, tokens: Ints) -> Flags:
        """Whether a condition holds at each of some counted tokens."""
        return _among(tokens, self._of(condition))

    def are_part(self, part: Part, tokens: Ints) -> Flags:
        """Whether each of some tokens is this part of its word."""
        return np.ones(len(tokens), bool) if part == "any" else self._parts[part][tokens]

    def _index(self, ids_SL: Ints, found: WordWindows, row_N: Ints, column_N: Ints) -> None:
        """Words, neighbours and traits of every token."""
        L = ids_SL.shape[1]
        first_N, next_N = found.first_WL[row_N, column_N], found.next_WL[row_N, column_N]
        here_N = found.surface_WL[row_N, column_N]

        def at(column: Ints) -> Ints:
            inside = (column >= 0) & (column < L)
            return np.where(inside, found.surface_WL[row_N, np.where(inside, column, 0)], NONE)

        previous_N, following_N = at(first_N - 1), at(next_N)
        before_N = found.first_WL[row_N, np.maximum(first_N - 1, 0)]
        second_N = at(np.where(first_N > 0, before_N - 1, -1))
        tables = KindTables(self._words)
        here = tables.kinds(here_N, previous_N)
        inside = enclosed(self._words, ids_SL)
        here |= {name: flags_SL[row_N, first_N] for name, flags_SL in inside.items()}
        self._traits = {
            "here": here,
            "previous": tables.kinds(previous_N, second_N),
            "next": tables.kinds(following_N, here_N),
        }
        self._columns = {"here": here_N, "previous": previous_N, "next": following_N}
        self._parts = {"first": first_N == column_N, "last": next_N == column_N + 1}
        self._first_token_N = np.arange(len(row_N)) - (column_N - first_N)
        self._next_token_N = self._first_token_N + (next_N - first_N)

    def _of(self, condition: Condition) -> Ints:
        """Tokens at which a condition holds."""
        if (known := self._known.get(condition)) is None:
            known = self._find(condition)
            known = known[self._counted_N[known]]
            if self._kept + len(known) > MAX_KEPT:
                self._known, self._kept = {}, 0
            self._known[condition] = known
            self._kept += len(known)
        return known

    def _find(self, condition: Condition) -> Ints:
        at, kind, names = condition
        if kind == "trait":
            return np.flatnonzero(np.logical_or.reduce([self._traits[at][name] for name in names]))
        if kind == "piece":
            numbers = [number for name in names for number in self._piece_numbers.get(name, ())]
            return self._union([self._pieces.of(number) for number in numbers])
        folds = self._folds(kind, names)
        if at != "near":
            return self._union([self._words_at[at].of(fold) for fold in folds])
        return self._union([self._near(fold) for fold in folds])

    def _union(self, parts: list[Ints]) -> Ints:
        """All tokens of some lists, ascending, each once."""
        if len(parts) == 1:
            return parts[0]
        if FEW * sum(map(len, parts)) < self.num_tokens:
            every = np.sort(np.concatenate([NOTHING, *parts]))
            return every[np.diff(every, prepend=-1) > 0]
        for tokens in parts:
            self._marks_N[tokens] = True
        union = np.flatnonzero(self._marks_N)
        self._marks_N[union] = False
        return union

    def _folds(self, kind: str, names: Sequence[str]) -> list[int]:
        """Folded numbers of the words that a condition names."""
        if kind == "word":
            return [self._words.folded_number(name) for name in names]
        if kind == "class":
            return [self._words.folded_number(word) for name in names for word in sorted(CLASSES[name])]
        if kind == "stem":
            return [fold for name in names for fold in self._beginning(name)]
        return [fold for name in names for fold in self._affixes.get(name, ())]

    def _beginning(self, stem: str) -> list[int]:
        """Words of letters that begin so."""
        first, last = (bisect_left(self._sorted, (bound, 0)) for bound in (stem, stem + chr(0x10FFFF)))
        return [fold for text, fold in self._sorted[first:last] if text.isalpha()]

    def _near(self, fold: int) -> Ints:
        """Tokens that have a word near, the word's own left out."""
        tokens = self._words_at["here"].of(fold)
        starts = tokens[self._parts["first"][tokens]]
        low = np.maximum(starts - AFTER, self._starts_S[self._sequence_N[starts]])
        high = np.minimum(starts + BEFORE + 1, self._stops_S[self._sequence_N[starts]])
        near = ranges(low, high - low)
        own = np.repeat(starts, high - low)
        return self._union([near[self._first_token_N[near] != own], NOTHING])

    @cached_property
    def _words_at(self) -> dict[str, "_Postings"]:
        return {at: _Postings(self._words.folded_of(column_N)) for at, column_N in self._columns.items()}

    @cached_property
    def _pieces(self) -> "_Postings":
        return _Postings(self._ids_N)

    @cached_property
    def _piece_numbers(self) -> dict[str, list[int]]:
        """Token ids by their printable text."""
        found: dict[str, list[int]] = {}
        for number in np.unique(self._ids_N).tolist():
            found.setdefault(self._words.piece(number).casefold(), []).append(number)
        return found

    @cached_property
    def _sorted(self) -> list[tuple[str, int]]:
        return sorted((text, fold) for fold, text in enumerate(self._words.folded_texts))

    @cached_property
    def _affixes(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for fold, text in enumerate(self._words.folded_texts):
            for affix in affixes_of(text):
                found.setdefault(affix, []).append(fold)
        return found


class _Postings:
    """The tokens that have each value of a column."""

    def __init__(self, value_N: Ints) -> None:
        self._order_N = np.argsort(value_N, kind="stable")
        self._starts_V = np.concatenate([[0], np.cumsum(np.bincount(value_N))])

    def of(self, value: int) -> Ints:
        """Tokens with a value, ascending; none of NONE and of a value that was not there."""
        if value == NONE or value + 1 >= len(self._starts_V):
            return NOTHING
        found: Ints = self._order_N[self._starts_V[value] : self._starts_V[value + 1]]
        return found


def _among(tokens: Ints, others: Ints) -> Flags:
    """Whether each of some tokens is among others, which ascend."""
    if len(others) == 0:
        return np.zeros(len(tokens), bool)
    place = np.searchsorted(others, tokens)
    place[place == len(others)] = 0
    found: Flags = others[place] == tokens
    return found


def _padded(corpus: TokenizedCorpus, sequences: list[int], lengths_S: Ints, outside: int) -> tuple[Ints, Flags]:
    """Token ids [S, L], `outside` after the end of each; and where tokens are."""
    inside_SL = np.arange(int(lengths_S.max(initial=1)) + 1) < lengths_S[:, None]
    ids_SL = np.full(inside_SL.shape, outside)
    for row, number in enumerate(sequences):
        ids_SL[row, : lengths_S[row]] = corpus.sequence_tokens(number)
    return ids_SL, inside_SL
