"""Responses to held features: what a text with a feature held is worth beside the text without, the baseline.

A text **responds** when all of this holds:

- it moved: its words are closer to the feature's evidence than those of the baseline, by at least MIN_MOVED; see
  closeness.py;
- it is still language: its perplexity for the model with nothing held is at most MAX_RATIO times the baseline's;
- it is no mere repetition: no token occurs more than MAX_RUN times in a row, and of its pairs of neighbouring tokens
  a share of at least MIN_DISTINCT are different ones;
- it is whole: its output was finite, and it has at least MIN_WORDS different words.

Of several texts the best has the highest score:

    score = moved x fresh^2 x distinct x alike x surprise / (1 + ln ratio / ln MAX_RATIO + first / FIRST_LOSS)

    fresh       share of its different words that no baseline of the same kind (chat or not) has
    distinct    share of different ones among its pairs of neighbouring tokens
    alike       1, but OTHER_START for an answer in a chat whose first word is not the baseline's: what begins with the
                same word ("I") still answers, and says something else
    surprise    1 - exp(-S / SURPRISE), S the sum over its words of their closeness times -ln of the probability, with
                nothing held, of that word's beginning there: "museum" tells more than "creative", which an assistant
                may say
    ratio       of its perplexity to the baseline's, at least 1
    first       -ln of the probability, with nothing held, of its first token: it is to begin as an answer does
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from data.artifacts.responses import SteeredText
from pipeline.influence.candidates import Candidate
from pipeline.influence.evidence import words_of
from pipeline.influence.writing import Opening, Reading, Text, distinct_share, longest_run

MIN_MOVED = 0.06
MAX_RATIO = 5.0
MIN_DISTINCT = 0.6
MAX_RUN = 2
MIN_WORDS = 4
FIRST_LOSS = 5.0
OTHER_START = 0.3
SURPRISE = 8.0
"""Nats."""
RULE = (
    f"A text responds when its words are closer to the feature’s own than those of the text without it, its perplexity "
    f"for the model by itself is at most {MAX_RATIO:g} times as high, and it does not repeat itself."
)


@dataclass(frozen=True)
class Baseline:
    """What the model writes by itself after an opening."""

    text: Text
    reading: Reading
    known: frozenset[str]
    """All words of the texts that the model writes by itself after openings of the same kind."""


@dataclass(frozen=True)
class Response:
    """A text with a feature held, beside the baseline of its opening."""

    opening: Opening
    candidate: Candidate
    strength: float
    """Times the feature's maximum."""
    text: Text
    baseline: Baseline
    moved: float
    """By how much the text is closer to the feature's evidence than the baseline is."""
    closeness: Mapping[str, float]
    """Of each different word of the text to the feature's evidence."""
    reading: Reading | None = None
    """By the model with nothing held; None where it was not asked for, see `is_promising`."""

    @cached_property
    def is_promising(self) -> bool:
        """Whether it responds by all of the rule but its perplexity."""
        tokens = self.text.tokens
        varied = longest_run(tokens) <= MAX_RUN and distinct_share(tokens) >= MIN_DISTINCT
        whole = self.text.ending != "broken" and len(set(words_of(self.text.text))) >= MIN_WORDS
        return self.moved >= MIN_MOVED and varied and whole

    @property
    def ratio(self) -> float:
        """Of the perplexity to the baseline's, at least 1; infinite where it is not known."""
        if self.reading is None:
            return math.inf
        return max(1.0, self.reading.perplexity / self.baseline.reading.perplexity)

    @property
    def responds(self) -> bool:
        """By the rule at the top of this file."""
        return self.is_promising and self.ratio <= MAX_RATIO

    @cached_property
    def fresh(self) -> float:
        """Share of the different words that the model does not write by itself."""
        words = set(words_of(self.text.text))
        return len(words - self.baseline.known) / max(len(words), 1)

    @cached_property
    def surprise(self) -> float:
        """See the top of this file; 0 where its perplexity is not known."""
        losses = self.reading.word_losses if self.reading else {}
        told = sum(close * losses.get(word, 0.0) for word, close in self.closeness.items())
        return -math.expm1(-told / SURPRISE)

    @property
    def begins_alike(self) -> bool:
        """Whether it has the baseline's first word."""
        first, other = (re.match(r"\W*(\w*)", text.text) for text in (self.text, self.baseline.text))
        return bool(first and other and first[1].casefold() == other[1].casefold())

    @property
    def score(self) -> float:
        """See the top of this file; 0 for a text that does not respond."""
        if self.reading is None or not self.responds:
            return 0.0
        said = self.moved * self.fresh**2 * distinct_share(self.text.tokens) * self.surprise
        if self.opening.chat and not self.begins_alike:
            said *= OTHER_START
        return said / (1 + math.log(self.ratio) / math.log(MAX_RATIO) + self.reading.first_loss / FIRST_LOSS)

    @property
    def feature(self) -> tuple[str, int]:
        """Name of its SAE, and index there."""
        return self.candidate.sae, self.candidate.index

    def as_text(self) -> SteeredText:
        """As pages show it."""
        assert self.reading is not None
        return SteeredText(self.strength, self.text.text, self.moved, self.reading.perplexity, self.responds)


def best_of(responses: Sequence[Response]) -> Response | None:
    """The one that responds with the highest score."""
    return max((one for one in responses if one.responds), key=lambda one: one.score, default=None)
