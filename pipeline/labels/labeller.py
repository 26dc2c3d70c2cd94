"""Labels from statistics: the candidate rule that tells best, on text it was not made from, where a feature is active.

A feature without such a rule is left unlabelled, with the words it is strongest on beside it.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.arrays import Ints
from pipeline.labels.candidates import Candidate, CandidateMaker
from pipeline.labels.evidence import Evidence
from pipeline.labels.pairs import Active
from pipeline.labels.rule import Rule
from pipeline.labels.scoring import Needed, Scorer, Trial, Tried
from pipeline.labels.wording import MOST_SAMPLES, say
from pipeline.labels.words import NONE

TELLING = Needed(score=0.3, precision=0.3)
"""A rule that reaches this is a label."""
SURE, TYPICAL = Needed(score=0.15, precision=0.9, said=5), 0.6
"""So is one that is nearly always right and holds on this part of the strongest examples: where the text that rules are
tried on has few tokens on which the feature is strong, none scores high."""
COMMON = 0.002
"""A word with at least this share of the corpus stands in quotation marks, else it reads as part of a sentence."""
HELD_OUT, TRAINING = "held-out", "training"
"""Text that a rule was tried on: held-out documents alone, or training documents that it was not made from as well."""


class Label(NamedTuple):
    """What a feature is called, and how far that can be trusted."""

    text: str = ""
    """"" where no rule tells enough."""
    words: tuple[str, ...] = ()
    """Words it is strongest on."""
    tried: Tried | None = None
    """The best rule, good enough or not; None where none could be tried."""
    tested_on: str = ""
    """HELD_OUT or TRAINING; "" where none could be tried."""

    @property
    def rule(self) -> Rule | None:
        return self.tried.rule if self.tried else None


class Labeller:
    """Makes labels from evidence and tries them on text."""

    def __init__(self, maker: CandidateMaker, scorer: Scorer) -> None:
        self.maker, self.scorer = maker, scorer

    def label(self, evidence: Evidence | None, active: Active, maximum: float, *, rare: bool) -> Label:
        """The label of a live feature. rare: whether it hardly fires in held-out text, see Scorer."""
        if evidence is None:
            return Label()
        words = tuple(self._samples(evidence.words))
        candidates = {one.rule: one for one in self.maker.rules(evidence)}
        trial = self.scorer.trial(active, rare, maximum)
        best = trial.best(list(candidates)) if trial else None
        if trial is None or best is None:
            return Label(words=words)
        tested_on = TRAINING if rare else HELD_OUT
        tried = _telling(trial, best, list(candidates.values()), len(evidence.words))
        if tried is None:
            return Label("", words, best, tested_on)
        return Label(self.text(candidates[tried.rule], evidence), words, tried, tested_on)

    def word(self, rule: Rule, evidence: Evidence) -> str:
        """The words for a rule that was made from some evidence, whether or not it tells enough to be a label."""
        return self.text(next(one for one in self.maker.rules(evidence) if one.rule == rule), evidence)

    def text(self, candidate: Candidate, evidence: Evidence) -> str:
        """A rule in words, with samples of those on which it holds."""
        places = [place for place in range(len(evidence.words)) if candidate.holds >> place & 1]
        fitting = evidence.words[places] if places else evidence.words
        spelled = self._spelled(np.concatenate([fitting, evidence.previous[places], evidence.next[places]]))
        return say(candidate.rule, self._samples(fitting, len(fitting)), spelled, self._is_common)

    def _is_common(self, word: str) -> bool:
        return self.maker.background.share(self.maker.words.folded_number(word)) >= COMMON

    def _samples(self, surfaces: Ints, limit: int = MOST_SAMPLES) -> list[str]:
        """Distinct words as they are most often written, the most frequent first, else the strongest."""
        texts, spelled = self.maker.words.folded_texts, self._spelled(surfaces)
        counts = Counter(self.maker.words.folded_of(surfaces).tolist())
        return [spelled[texts[fold]] for fold, _ in counts.most_common(limit) if fold != NONE]

    def _spelled(self, surfaces: Ints) -> dict[str, str]:
        """The most frequent spelling of each word, by its folded form."""
        found: dict[str, str] = {}
        words = self.maker.words
        for word, _ in Counter(surfaces.tolist()).most_common():
            found.setdefault(words.folded_texts[words.folded[word]], words.texts[word])
        return found


def _telling(trial: Trial, best: Tried, candidates: Sequence[Candidate], num_examples: int) -> Tried | None:
    """The rule that is a feature's label, if any is. best: of all candidates."""
    if best.score.value >= TELLING.score:
        if best.score.precision >= TELLING.precision:
            return best
        if telling := trial.best([one.rule for one in candidates], TELLING):
            return telling
    return trial.best([one.rule for one in candidates if _is_typical(one, num_examples)], SURE)


def _is_typical(candidate: Candidate, num_examples: int) -> bool:
    """Whether a rule is known to hold on most of the strongest examples."""
    if candidate.holds.bit_count() < TYPICAL * num_examples:
        return False
    return all(condition.at != "near" for condition in candidate.rule.conditions)  # else it is not known where
