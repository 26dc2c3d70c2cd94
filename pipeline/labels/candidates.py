"""Candidate rules for a feature, from what its strongest examples share.

Conditions on the word itself (one word, two, up to four; a class, a kind, a stem, an affix, a piece) and on what stands
around it (the words before and after, their kinds, the place, words near), one by one and two by two. Which of them is
the label is decided by text that they were not made from (scoring.py).

Simple ones come first, since an earlier rule is preferred to a later one that is no better.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from os.path import commonprefix
from typing import NamedTuple

import numpy as np

from pipeline.arrays import Ints
from pipeline.labels.background import Background, affixes_of
from pipeline.labels.classes import classes_of
from pipeline.labels.evidence import Evidence
from pipeline.labels.rule import At, Condition, Kind, Rule
from pipeline.labels.traits import KINDS, TRAITS, Flags
from pipeline.labels.words import NONE, Words

MOST_WORDS = 4
"""Words that a condition names."""
SHARED = 0.35
"""Share of the examples on which a condition must hold to be tried alone."""
TOGETHER = 0.3
"""And on which two must hold together."""
LIFT = 1.5
"""Factor by which a kind, class or affix must be more common than in the corpus."""
NEAR = 0.15
"""Share of the documents in which a word must stand near."""
HEADS, SIDES = 6, 6
"""Conditions on the word, and around it, that are tried together."""


class Found(NamedTuple):
    """A condition and the examples on which it holds."""

    condition: Condition
    holds: Flags
    """[W]"""

    @property
    def share(self) -> float:
        return float(self.holds.mean())


class Candidate(NamedTuple):
    """A rule and the examples on which it holds, as far as is known: words near are not looked up again."""

    rule: Rule
    holds: Flags
    """[W]"""


class CandidateMaker:
    """Makes candidate rules from evidence, against the background of the corpus."""

    def __init__(self, words: Words, background: Background) -> None:
        self.words, self.background = words, background

    def rules(self, evidence: Evidence) -> list[Candidate]:
        """Rules to try, the simplest first, each once."""
        heads, sides = self._heads(evidence), self._sides(evidence)
        near = self._near(evidence)
        alone = [found.condition for found in (*heads, *sides) if found.share >= SHARED]
        found: list[tuple[Condition, ...]] = [(condition,) for condition in (*alone, *near)]
        found += self._pairs(heads, sides)
        found += [(head.condition, side) for head in _best(heads, HEADS) if head.share >= TOGETHER for side in near]
        holds = {one.condition: one.holds for one in (*heads, *sides)}
        everywhere = np.ones(len(evidence.words), bool)
        return [
            Candidate(
                Rule(conditions, evidence.part),
                np.logical_and.reduce([holds.get(condition, everywhere) for condition in conditions]),
            )
            for conditions in dict.fromkeys(found)
        ]

    def _heads(self, evidence: Evidence) -> list[Found]:
        """Conditions on the word itself."""
        folds = self._folded(evidence.words)
        found = [*self._words_of("here", folds), *self._classes("here", folds)]
        found += self._traits("here", evidence.traits, TRAITS)
        return [*found, *self._stems(folds), *self._affixes(folds), *self._pieces(evidence)]

    def _sides(self, evidence: Evidence) -> list[Found]:
        """Conditions on the words before and after it."""
        found: list[Found] = []
        for at, column, traits in (
            ("previous", evidence.previous, evidence.traits_previous),
            ("next", evidence.next, evidence.traits_next),
        ):
            folds = self._folded(column)
            found += [*self._words_of(at, folds), *self._classes(at, folds), *self._traits(at, traits, KINDS[:3])]
        return found

    def _pairs(self, heads: list[Found], sides: list[Found]) -> list[tuple[Condition, ...]]:
        """Two conditions that hold together on enough examples."""
        first, second = _best(heads, HEADS), _best(sides, SIDES)
        places = [found for found in heads if found.condition.kind == "trait"]
        pairs = [(one, other) for one in first for other in (*second, *places) if one is not other]
        pairs += [(one, other) for one in second for other in second if one.condition.at < other.condition.at]
        kept = [(one, other) for one, other in pairs if (one.holds & other.holds).mean() >= TOGETHER]
        return [(one.condition, other.condition) for one, other in kept if not _same(one.condition, other.condition)]

    def _words_of(self, at: At, folds: Ints) -> Iterator[Found]:
        """The most frequent word, the two most frequent, and so on, while each comes more than once."""
        counts = Counter(folds[folds != NONE].tolist())
        least = 2 if len(folds) > 3 else 1
        chosen = [fold for fold, count in counts.most_common(MOST_WORDS) if count >= least]
        for number in range(1, len(chosen) + 1):
            if at == "here" or self._lift(folds, chosen[:number]):
                holds = np.isin(folds, chosen[:number])
                yield Found(self._condition(at, "word", [self.words.folded_texts[f] for f in chosen[:number]]), holds)

    def _lift(self, folds: Ints, chosen: Sequence[int]) -> bool:
        return np.isin(folds, chosen).mean() > LIFT * sum(self.background.share(fold) for fold in chosen)

    def _classes(self, at: At, folds: Ints) -> Iterator[Found]:
        """Classes that more than one of the words are in."""
        texts = [self.words.folded_texts[fold] for fold in folds.tolist()]
        members: dict[str, set[str]] = {}
        for text in texts:
            for name in classes_of(text):
                members.setdefault(name, set()).add(text)
        for name, some in members.items():
            holds = np.array([text in some for text in texts])
            usual = self.background.classes[name] / max(self.background.num_words, 1)
            if len(some) > 1 and holds.mean() > LIFT * usual:
                yield Found(self._condition(at, "class", [name]), holds)

    def _traits(self, at: At, traits: dict[str, Flags], names: Sequence[str]) -> Iterator[Found]:
        for name in names:
            if traits[name].mean() > LIFT * self.background.traits[name]:
                yield Found(self._condition(at, "trait", [name]), traits[name])

    def _stems(self, folds: Ints) -> Iterator[Found]:
        """`play-`: the beginning that the forms of a common word share."""
        texts = [self.words.folded_texts[fold] for fold in folds.tolist()]
        tried = set()
        for text, _ in Counter(texts).most_common(3):
            family = {other for other in texts if _alike(text, other)}
            stem = commonprefix(sorted(family))  # noqa: RUF071 - these are words, not paths
            if len(family) > 1 and len(stem) >= 4 and stem not in tried:
                tried.add(stem)
                yield Found(self._condition("here", "stem", [stem]), np.array([t.startswith(stem) for t in texts]))

    def _affixes(self, folds: Ints) -> Iterator[Found]:
        """`-ed`, `un-`: letters in which several different words end, or begin."""
        texts = [self.words.folded_texts[fold] for fold in folds.tolist()]
        distinct = set(texts)
        counts = Counter(affix for text in distinct for affix in affixes_of(text))
        shared = [(affix, count) for affix, count in counts.items() if count >= max(3, SHARED * len(distinct))]
        # Of several that as many words have, the longest says most.
        shared.sort(key=lambda pair: (-pair[1], -len(pair[0]), pair[0]))
        for affix, count in shared[:3]:
            usual = self.background.affixes[affix] / max(self.background.num_words, 1)
            if count > LIFT * usual * len(distinct):
                holds = np.array([affix in affixes_of(text) for text in texts])
                yield Found(self._condition("here", "affix", [affix]), holds)

    def _pieces(self, evidence: Evidence) -> Iterator[Found]:
        """The token itself, where it is part of several words."""
        counts = Counter(evidence.pieces.tolist())
        token, count = counts.most_common(1)[0]
        holds = evidence.pieces == token
        piece = self.words.piece(token).casefold()
        whole = {self.words.folded_texts[fold] for fold in self._folded(evidence.words[holds]).tolist()} == {piece}
        if count > 1 and not whole:
            yield Found(self._condition("here", "piece", [piece]), holds)

    def _near(self, evidence: Evidence) -> list[Condition]:
        """The least likely words near, up to two, three and four of them."""
        texts = [self.words.folded_texts[fold] for fold, share in evidence.near if share >= NEAR]
        return [self._condition("near", "word", texts[:n]) for n in range(1, min(MOST_WORDS, len(texts)) + 1)]

    def _folded(self, surfaces: Ints) -> Ints:
        return self.words.folded_of(surfaces)

    def _condition(self, at: At, kind: Kind, names: Sequence[str]) -> Condition:
        return Condition(at, kind, tuple(names))


def _best(found: list[Found], limit: int) -> list[Found]:
    """Those that hold on most examples."""
    return sorted(found, key=lambda one: -one.share)[:limit]


def _same(one: Condition, other: Condition) -> bool:
    """Whether two conditions speak of the same in the same way, so that one adds little."""
    return one.at == other.at and one.kind == other.kind and one.kind != "trait"


def _alike(text: str, other: str) -> bool:
    """Whether two words are forms of one, roughly: they begin alike, by four letters and more than half of both."""
    shared = len(commonprefix([text, other]))  # noqa: RUF071 - these are words, not paths
    return text == other or (shared >= 4 and shared >= 0.55 * max(len(text), len(other)) and (text + other).isalpha())
