"""Text that rules are tried on: every word of it indexed once, so that a rule finds its tokens without reading it.

Tokens are numbered through: those of held-out sequences first, then those of training sequences. Tokens that are left
out everywhere (attention sinks) have a number and are found by no rule.

Shapes: N tokens, S sequences, L tokens of the longest, V words by folded number.
"""

from collections.abc import Callable
from functools import cached_property

import numpy as np

from data.artifacts.corpus import TokenizedCorpus
from pipeline.arrays import Ints, ranges
from pipeline.labels.lexicon import Lexicon, Numbers, among_few
from pipeline.labels.rule import AFTER, BEFORE, Condition, Part, Rule
from pipeline.labels.traits import Flags, KindTables, enclosed
from pipeline.labels.words import NONE, Words, WordWindows

NOTHING: Ints = np.empty(0, np.int64)
MAX_KEPT = 30_000_000
"""Token numbers of conditions that are remembered, in all."""
OFTEN = 40
"""Tokens of one in so many, or more, are compared where they stand: to list them takes as long."""
MOST_NAMED = 4096
"""Conditions of which the words are remembered."""


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
        counted_N = counted(np.arange(self.num_tokens))
        self._masks: dict[Part, Flags] = {
            "any": counted_N, "first": counted_N & self._parts["first"], "last": counted_N & self._parts["last"],
        }  # fmt: skip
        """Counted tokens that are this part of their words."""
        self._lexicon = Lexicon(words)
        self._known: dict[Condition, Ints] = {}
        self._kept = 0
        self._named: dict[Condition, Ints] = {}
        self._trait_counts: dict[tuple[Rule, int], int] = {}
        self._counts_V: dict[tuple[str, Part, int], Ints] = {}

    def tokens(self, rule: Rule) -> Ints:
        """Numbers of the counted tokens where the rule says that the feature is active, ascending."""
        return np.sort(self._found(rule))

    def count(self, rule: Rule, limit: int) -> int:
        """How many of these tokens have a number below a limit."""
        if all(condition.kind == "trait" for condition in rule.conditions):
            key = (rule, limit)
            if key not in self._trait_counts:
                self._trait_counts[key] = int(np.count_nonzero(self._found(rule) < limit))
            return self._trait_counts[key]
        condition = rule.conditions[0]
        if len(rule.conditions) > 1 or condition.at == "near":
            return self._count_all(rule, limit)
        values = self._values(condition)
        count_V = self._value_counts(_column(condition), rule.part, limit)
        return int(count_V[values[values < len(count_V)]].sum())

    def _count_all(self, rule: Rule, limit: int) -> int:
        """The same of a rule of several conditions, or with words near: among the tokens of the rarest, or among all
        where these are not few."""
        is_near = any(condition.at == "near" for condition in rule.conditions)
        if is_near or min(map(self._most, rule.conditions)) * OFTEN < limit:
            return int(np.count_nonzero(self._found(rule) < limit))
        flags = self._masks[rule.part][:limit]
        for condition in rule.conditions:
            flags = flags & self.holds(condition, slice(limit))
        return int(np.count_nonzero(flags))

    def holds(self, condition: Condition, tokens: Ints | slice) -> Flags:
        """Whether a condition holds at each of some counted tokens; a slice of them for conditions without `near`."""
        at, kind, names = condition
        if kind == "trait":
            flags = [self._traits[at][name][tokens] for name in names]
            return flags[0] if len(flags) == 1 else np.logical_or.reduce(flags)
        if at == "near":
            assert not isinstance(tokens, slice)
            return self._are_near(self._values(condition).tolist(), tokens)
        if kind in ("word", "piece"):
            return among_few(self._columns[_column(condition)][tokens], self._values(condition).tolist())
        return self._lexicon.holds(kind, names, self._columns[at][tokens])

    def are_part(self, part: Part, tokens: Ints) -> Flags:
        """Whether each of some tokens is this part of its word."""
        return np.ones(len(tokens), bool) if part == "any" else self._parts[part][tokens]

    def _found(self, rule: Rule) -> Ints:
        """The tokens of a rule in any order: those of its rarest condition at which the others hold, too."""
        rarest = min(rule.conditions, key=self._most) if len(rule.conditions) > 1 else rule.conditions[0]
        tokens = self._of(rarest)
        tokens = tokens[self._masks[rule.part][tokens]]
        for condition in rule.conditions:
            if condition is not rarest:
                tokens = tokens[self.holds(condition, tokens)]
        return tokens

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
        surfaces = {"here": here_N, "previous": previous_N, "next": following_N}
        self._columns: dict[str, Numbers] = {
            at: self._words.folded_of(surface_N).astype(np.int32) for at, surface_N in surfaces.items()
        }
        self._columns["piece"] = self._ids_N.astype(np.int32)
        self._columns["start"] = np.where(first_N == column_N, self._columns["here"], NONE)  # of first tokens alone
        self._parts = {"first": first_N == column_N, "last": next_N == column_N + 1}
        self._first_token_N = np.arange(len(row_N)) - (column_N - first_N)

    def _of(self, condition: Condition) -> Ints:
        """Tokens at which a condition holds, each once, in any order."""
        if condition.kind != "trait" and condition.at != "near":
            return self._postings[_column(condition)].of(self._values(condition))
        if (known := self._known.get(condition)) is None:
            known = self._find(condition)
            if self._kept + len(known) > MAX_KEPT:
                self._known, self._kept = {}, 0
            self._known[condition] = known
            self._kept += len(known)
        return known

    def _find(self, condition: Condition) -> Ints:
        if condition.kind == "trait":
            return np.flatnonzero(np.logical_or.reduce([self._traits[condition.at][name] for name in condition.words]))
        return self._near(self._values(condition))

    def _most(self, condition: Condition) -> int:
        """Tokens at which a condition holds, at most."""
        if condition.kind == "trait":
            return len(self._of(condition))
        count = self._postings[_column(condition)].count(self._values(condition))
        return count * (BEFORE + 1 + AFTER) if condition.at == "near" else count

    def _values(self, condition: Condition) -> Ints:
        """Values of a condition's column at which it holds, or of which one must stand near."""
        if (known := self._named.get(condition)) is None:
            if len(self._named) == MOST_NAMED:
                self._named.clear()
            known = self._named[condition] = self._find_values(condition)
        return known

    def _find_values(self, condition: Condition) -> Ints:
        if condition.kind != "piece":
            return self._lexicon.folds(condition.kind, condition.words)
        numbers = (number for name in condition.words for number in self._piece_numbers.get(name, ()))
        return np.array([*numbers], np.int64)

    def _value_counts(self, column: str, part: Part, limit: int) -> Ints:
        """Counted tokens below a limit that have each value of a column and are this part of their words."""
        if (key := (column, part, limit)) not in self._counts_V:
            values = self._columns[column][:limit][self._masks[part][:limit]]
            self._counts_V[key] = np.bincount(values).astype(np.int32)
        return self._counts_V[key]

    def _near(self, folds: Ints) -> Ints:
        """Tokens that have one of some words near, their own left out; ascending, each once."""
        starts = self._postings["start"].of(folds)
        low = np.maximum(starts - AFTER, self._starts_S[self._sequence_N[starts]])
        high = np.minimum(starts + BEFORE + 1, self._stops_S[self._sequence_N[starts]])
        near = ranges(low, high - low)
        near = np.sort(near[self._first_token_N[near] != np.repeat(starts, high - low)])
        return near[np.diff(near, prepend=-1) > 0]

    def _are_near(self, folds: list[int], tokens: Ints) -> Flags:
        """Whether each of some tokens has one of some words near, its own left out."""
        sequences, own = self._sequence_N[tokens], self._first_token_N[tokens]
        low = np.maximum(tokens - BEFORE, self._starts_S[sequences])
        high = np.minimum(tokens + AFTER + 1, self._stops_S[sequences])
        own_fold = np.where((low <= own) & (own < high), self._columns["here"][tokens], NONE)
        near = np.zeros(len(tokens), bool)
        for fold in folds:
            starts = self._postings["start"].of_one(fold)
            near |= np.searchsorted(starts, high) - np.searchsorted(starts, low) > (own_fold == fold)
        return near

    @cached_property
    def _postings(self) -> dict[str, "_Postings"]:
        return {at: _Postings(column_N) for at, column_N in self._columns.items()}

    @cached_property
    def _piece_numbers(self) -> dict[str, list[int]]:
        """Token ids by their printable text."""
        found: dict[str, list[int]] = {}
        for number in np.unique(self._ids_N).tolist():
            found.setdefault(self._words.piece(number).casefold(), []).append(number)
        return found


class _Postings:
    """The tokens that have each value of a column."""

    def __init__(self, value_N: Numbers) -> None:
        self._order_N = np.argsort(value_N, kind="stable")
        self._starts_V = np.concatenate([[0], np.cumsum(np.bincount(value_N))])

    def of_one(self, value: int) -> Ints:
        """Tokens with a value, ascending; none of a value that was not there."""
        if value + 1 >= len(self._starts_V):
            return NOTHING
        found: Ints = self._order_N[self._starts_V[value] : self._starts_V[value + 1]]
        return found

    def of(self, values: Ints) -> Ints:
        """Tokens with one of some values, value by value."""
        if len(values) == 1:
            return self.of_one(int(values[0]))
        values = values[values + 1 < len(self._starts_V)]
        starts = self._starts_V[values]
        found: Ints = self._order_N[ranges(starts, self._starts_V[values + 1] - starts)]
        return found

    def count(self, values: Ints) -> int:
        """How many tokens these are."""
        if len(values) == 1:
            return len(self.of_one(int(values[0])))
        values = values[values + 1 < len(self._starts_V)]
        return int((self._starts_V[values + 1] - self._starts_V[values]).sum())


def _column(condition: Condition) -> str:
    """The column of the text that a condition speaks of."""
    if condition.kind == "piece":
        return "piece"
    return "start" if condition.at == "near" else condition.at


def _padded(corpus: TokenizedCorpus, sequences: list[int], lengths_S: Ints, outside: int) -> tuple[Ints, Flags]:
    """Token ids [S, L], `outside` after the end of each; and where tokens are."""
    inside_SL = np.arange(int(lengths_S.max(initial=1)) + 1) < lengths_S[:, None]
    ids_SL = np.full(inside_SL.shape, outside)
    for row, number in enumerate(sequences):
        ids_SL[row, : lengths_S[row]] = corpus.sequence_tokens(number)
    return ids_SL, inside_SL
