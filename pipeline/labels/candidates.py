"""Candidate rules for a feature, from what its strongest examples share.

Conditions on the word itself (one word, two, up to five; a class, a kind, a stem, an affix, a piece) and on what stands
around it (the words before and after, their kinds, the place, words near), one by one and two by two. Which of them is
the label is decided by text that they were not made from (scoring.py).

Simple ones come first, since an earlier rule is preferred to a later one that is no better. The examples on which a
condition holds are the bits of a whole number, for these sets are small and there are many of them.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import itemgetter
from os.path import commonprefix
from typing import NamedTuple

import numpy as np

from pipeline.arrays import Ints
from pipeline.labels.background import Background, affixes_of
from pipeline.labels.classes import classes_of
from pipeline.labels.evidence import Evidence
from pipeline.labels.rule import At, Condition, Rule
from pipeline.labels.traits import TRAITS, WORD_KINDS, Flags
from pipeline.labels.words import NONE, Words

MOST_WORDS = 5
"""Words that a condition names."""
SHARED = 0.2
"""Share of the examples on which a condition must hold to be tried alone."""
LIKE = 0.35
"""Share of the distinct words that must have an affix."""
TOGETHER = 0.25
"""And on which two must hold together."""
LIFT = 1.5
"""Factor by which a kind, class or affix must be more common than in the corpus."""
NEAR = 0.15
"""Share of the documents in which a word must stand near."""
HEADS, SIDES = 6, 6
"""Conditions on the word, and around it, that are tried together."""

Masks = dict[int, int]
"""The examples that have each word, by its folded number."""


class Found(NamedTuple):
    """A condition and the examples on which it holds."""

    condition: Condition
    holds: int
    size: int
    """Number of these examples."""


class Candidate(NamedTuple):
    """A rule and the examples on which it holds, as far as is known: words near are not looked up again."""

    rule: Rule
    holds: int


class CandidateMaker:
    """Makes candidate rules from evidence, against the background of the corpus."""

    def __init__(self, words: Words, background: Background) -> None:
        self.words, self.background = words, background

    def rules(self, evidence: Evidence) -> list[Candidate]:
        """Rules to try, the simplest first, each once."""
        size = len(evidence.words)
        everywhere = (1 << size) - 1
        heads, sides = self._heads(evidence), self._sides(evidence)
        near = [Found(condition, everywhere, size) for condition in self._near(evidence)]
        best = _best(heads, HEADS)
        tried: list[tuple[Found, ...]] = [(one,) for one in heads if one.size >= SHARED * size]
        tried += _pairs(best, heads, sides, TOGETHER * size)
        tried += [(one,) for one in sides if one.size >= SHARED * size]
        tried += [(one,) for one in near]
        tried += [(head, side) for head in best if head.size >= TOGETHER * size for side in near]
        holds: dict[tuple[Condition, ...], int] = {}
        for found in tried:
            conditions = tuple([one.condition for one in found])
            holds[conditions] = found[0].holds & found[-1].holds
        return [Candidate(Rule(conditions, evidence.part), shared) for conditions, shared in holds.items()]

    def _heads(self, evidence: Evidence) -> list[Found]:
        """Conditions on the word itself."""
        masks = self._masks(evidence.words)
        found = [*self._words_of("here", masks, len(evidence.words)), *self._classes("here", masks)]
        found += self._traits("here", evidence.traits, TRAITS)
        return [*found, *self._stems(masks), *self._affixes(masks), *self._pieces(evidence)]

    def _sides(self, evidence: Evidence) -> list[Found]:
        """Conditions on the words before and after it."""
        found: list[Found] = []
        sides: tuple[tuple[At, Ints, dict[str, Flags]], ...] = (
            ("previous", evidence.previous, evidence.traits_previous),
            ("next", evidence.next, evidence.traits_next),
        )
        for at, column, traits in sides:
            masks = self._masks(column)
            found += [*self._words_of(at, masks, len(column)), *self._classes(at, masks)]
            found += self._traits(at, traits, WORD_KINDS)
        return found

    def _masks(self, surfaces: Ints) -> Masks:
        masks: Masks = {}
        bit = 1
        for fold in self.words.folded_of(surfaces).tolist():
            masks[fold] = masks.get(fold, 0) | bit
            bit <<= 1
        masks.pop(NONE, None)
        return masks

    def _words_of(self, at: At, masks: Masks, size: int) -> Iterator[Found]:
        """The most frequent word, the two most frequent, and so on, while each comes more than once."""
        least = 2 if size > 3 else 1
        counts = [(-count, fold) for fold, mask in masks.items() if (count := mask.bit_count()) >= least]
        counts.sort(key=itemgetter(0))
        names: tuple[str, ...] = ()
        holds, usual = 0, 0.0
        for _, fold in counts[:MOST_WORDS]:
            names, holds = (*names, self.words.folded_texts[fold]), holds | masks[fold]
            usual += self.background.share(fold)
            if at == "here" or holds.bit_count() > LIFT * usual * size:
                yield _found(Condition(at, "word", names), holds)

    def _classes(self, at: At, masks: Masks) -> Iterator[Found]:
        """Classes that more than one of the words are in."""
        members: dict[str, list[int]] = {}
        texts = self.words.folded_texts
        for fold, mask in masks.items():
            for name in classes_of(texts[fold]):
                members.setdefault(name, []).append(mask)
        several = {name: _union(some) for name, some in members.items() if len(some) > 1}
        size = sum(map(int.bit_count, masks.values())) if several else 0
        for name, holds in several.items():
            usual = self.background.classes[name] / max(self.background.num_words, 1)
            if holds.bit_count() > LIFT * usual * size:
                yield _found(Condition(at, "class", (name,)), holds)

    def _traits(self, at: At, traits: dict[str, Flags], names: Sequence[str]) -> Iterator[Found]:
        for name in names:
            flags = traits[name]
            count = int(np.count_nonzero(flags))
            if count > LIFT * self.background.traits[name] * len(flags):
                holds = int.from_bytes(np.packbits(flags, bitorder="little").tobytes(), "little")
                yield Found(Condition(at, "trait", (name,)), holds, count)

    def _stems(self, masks: Masks) -> Iterator[Found]:
        """`play-`: the beginning that the forms of a common word share."""
        texts = {self.words.folded_texts[fold]: mask for fold, mask in masks.items()}
        tried = set()
        for text in sorted(texts, key=lambda text: -texts[text].bit_count())[:3]:
            start = text[:4]
            family = [other for other in texts if other[:4] == start and _alike(text, other)]
            stem = _shared(min(family), max(family)) if len(family) > 1 else ""
            if len(stem) >= 4 and stem not in tried:
                tried.add(stem)
                yield _found(
                    Condition("here", "stem", (stem,)), _union(texts[one] for one in texts if one.startswith(stem))
                )

    def _affixes(self, masks: Masks) -> Iterator[Found]:
        """`-ed`, `un-`: letters in which several different words end, or begin."""
        having: dict[str, list[int]] = {}
        texts = self.words.folded_texts
        for fold, mask in masks.items():
            for affix in _affixes_of(texts[fold]):
                having.setdefault(affix, []).append(mask)
        least = max(3, LIKE * len(masks))
        shared = [affix for affix, some in having.items() if len(some) >= least]
        # Of several that as many words have, the longest says most.
        for affix in sorted(shared, key=lambda affix: (-len(having[affix]), -len(affix), affix))[:3]:
            usual = self.background.affixes[affix] / max(self.background.num_words, 1)
            if len(having[affix]) > LIFT * usual * len(masks):
                yield _found(Condition("here", "affix", (affix,)), _union(having[affix]))

    def _pieces(self, evidence: Evidence) -> Iterator[Found]:
        """The token itself, where it is part of several words."""
        pieces = evidence.pieces.tolist()
        token, count = Counter(pieces).most_common(1)[0]
        places = [place for place, other in enumerate(pieces) if other == token]
        piece = self.words.piece(token).casefold()
        folds = self.words.folded_of(evidence.words[places]).tolist()
        if count > 1 and {self.words.folded_texts[fold] for fold in folds} != {piece}:
            yield _found(Condition("here", "piece", (piece,)), _union(1 << place for place in places))

    def _near(self, evidence: Evidence) -> list[Condition]:
        """The least likely words near: the first, the first two, and so on."""
        texts = tuple(self.words.folded_texts[fold] for fold, share in evidence.near if share >= NEAR)
        return [Condition("near", "word", texts[:n]) for n in range(1, min(MOST_WORDS, len(texts)) + 1)]


def _pairs(first: list[Found], heads: list[Found], sides: list[Found], least: float) -> Iterator[tuple[Found, Found]]:
    """Two conditions that hold together on enough examples; first: the best of heads."""
    first = [one for one in first if one.size >= least]
    second = [one for one in _best(sides, SIDES) if one.size >= least]
    others = [*second, *(one for one in heads if one.size >= least and one.condition.kind == "trait")]
    pairs = [(one, other) for one in first for other in others if one is not other]
    pairs += [(one, other) for one in second for other in second if one.condition.at < other.condition.at]
    for one, other in pairs:
        if (one.holds & other.holds).bit_count() >= least and not _same(one.condition, other.condition):
            yield one, other


def _found(condition: Condition, holds: int) -> Found:
    return Found(condition, holds, holds.bit_count())


def _union(masks: Iterator[int] | Sequence[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union


def _best(found: list[Found], limit: int) -> list[Found]:
    """Those that hold on most examples."""
    return sorted(found, key=lambda one: -one.size)[:limit]


def _same(one: Condition, other: Condition) -> bool:
    """Whether two conditions speak of the same in the same way, so that one adds little."""
    return one.at == other.at and one.kind == other.kind and one.kind != "trait"


@lru_cache(1 << 16)
def _affixes_of(text: str) -> tuple[str, ...]:
    return tuple(affixes_of(text))


@lru_cache(1 << 17)
def _alike(text: str, other: str) -> bool:
    """Whether two words are forms of one, roughly: they begin alike, by four letters and more than half of both."""
    if text == other:
        return True
    if text[:4] != other[:4]:
        return False
    shared = len(_shared(text, other))
    return shared >= 4 and shared >= 0.55 * max(len(text), len(other)) and (text + other).isalpha()


def _shared(text: str, other: str) -> str:
    """What two words begin with."""
    return commonprefix([text, other])  # noqa: RUF071 - these are words, not paths
