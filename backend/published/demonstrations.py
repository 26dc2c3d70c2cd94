"""Demonstrations: what a run's features make the model write, as it was stored when the run was published."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from backend.html.address import query
from backend.html.tokens import written_text
from backend.published.catalogue import OpenRun
from backend.published.features import FeatureSummary, get_summaries
from data.artifacts.responses import Demonstration, Responses, SteeredText

HOLDS_AT = 2
"""Strengths whose texts do not break, at least, of what pages lead with."""
MOST_UNLIKE = 1.5
"""Ratio of perplexities from which on a text is plainly not the model's own; far above, it only reads worse."""


class Passage(NamedTuple):
    """A piece of a stored text, as it is shown."""

    text: str
    told: bool
    """Whether it is one of the words that the feature is known by."""


@dataclass(frozen=True)
class StoredText:
    """What the model wrote with the feature held."""

    strength: float
    """Times the feature's highest activation."""
    text: str
    """Exactly as it was written."""
    passages: list[Passage]
    responds: bool
    tells: float
    """How plainly it shows that something was held: 0 where it is no nearer to the feature, or what the model might as
    well have written by itself."""
    href: str
    """The steering page with this text and its settings."""


@dataclass(frozen=True)
class StoredDemonstration:
    """One feature after one opening: the text without it, and those at several strengths."""

    feature: FeatureSummary
    opening: str
    """A message to the assistant where `chat`, else a text to continue."""
    chat: bool
    new_tokens: int
    baseline: str
    """The text without it, exactly as it was written."""
    baseline_passages: list[Passage]
    texts: list[StoredText]
    """The lowest strength first."""
    best: StoredText

    def breaks(self, text: StoredText) -> bool:
        """Whether the feature's own curve says that texts break at the strength of this one."""
        return self.feature.break_strength is not None and text.strength >= self.feature.break_strength

    @property
    def opens(self) -> StoredText:
        """What pages show first: the best text, or where texts break at its strength, the strongest at which none does;
        the best where they break at all."""
        if not self.breaks(self.best):
            return self.best
        return next((text for text in reversed(self.texts) if not self.breaks(text)), self.best)

    @property
    def holds(self) -> bool:
        """Whether some strength brings what is written nearer to what it is about, by its curve, and there are texts at
        HOLDS_AT strengths that do not break."""
        whole = sum(not self.breaks(text) for text in self.texts)
        return self.feature.peak_strength is not None and whole >= HOLDS_AT

    @property
    def tells(self) -> float:
        """How much its texts tell together, those that break left out."""
        return sum(text.tells for text in self.texts if not self.breaks(text))

    def at(self, strength: float | None) -> StoredText | None:
        """The text at a strength, if there is one."""
        return next((text for text in self.texts if text.strength == strength), None)


@dataclass(frozen=True)
class Demonstrations:
    """The demonstrations of a run, the best first."""

    chats: list[StoredDemonstration]
    """At most one of each feature."""
    openings: list[StoredDemonstration]
    """Likewise."""
    found: str
    """A sentence or two on how they were found, or why there are none."""

    @property
    def all(self) -> list[StoredDemonstration]:
        """What pages offer, the best first: chats before plain texts, each feature once."""
        return _each_once([*self.chats, *self.openings])

    @property
    def lead(self) -> StoredDemonstration | None:
        """What pages lead with: of those that hold, chats before plain texts, the one whose texts at all strengths at
        which they do not break tell most together; the first where none holds."""
        held = [one for one in self.chats if one.holds] or [one for one in self.openings if one.holds]
        if held:
            return max(held, key=lambda one: one.tells)
        return next(iter(self.all), None)

    def of(self, name: str) -> StoredDemonstration | None:
        """That of a feature, by model/sae/index."""
        return next((one for one in self.all if one.feature.name == name), None)

    def after(self, opening: str, name: str, *, chat: bool) -> StoredDemonstration | None:
        """That of a feature after an opening."""
        kind = self.chats if chat else self.openings
        return next((one for one in kind if (one.feature.name, one.opening) == (name, opening)), None)


def demonstrations(run: OpenRun) -> Demonstrations:
    """The demonstrations of a run."""
    measured = Responses.from_json(run.record.responses)
    return Demonstrations(_stored(run, measured.chats), _stored(run, measured.openings), _found(measured))


def steer_href(feature: str, opening: str, strength: float, *, chat: bool, new_tokens: int) -> str:
    """The steering page with a stored text; where it is an answer of a chat, the chat goes on from it."""
    held = f"{feature}:{strength:g}"
    said = {"after": held, "chat": 1} if chat else {"prompt": opening}
    return "/steer" + query(f=held, **said, temperature=0, new_tokens=new_tokens)


def marked(text: str, words: Sequence[str]) -> list[Passage]:
    """A text with its whole words among `words`, in upper or lower case, told from the rest."""
    named = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True) if word)
    parts = re.split(rf"(?<!\w)({named})(?!\w)", text, flags=re.IGNORECASE) if named else [text]
    return [Passage(written_text(part), place % 2 == 1) for place, part in enumerate(parts) if part]


def _stored(run: OpenRun, found: Sequence[Demonstration]) -> list[StoredDemonstration]:
    saes = {sae.name: sae for sae in run.saes}
    features = get_summaries(run, [saes[one.sae].row(one.index) for one in found])
    return _each_once([_demonstration(*pair) for pair in zip(found, features, strict=True)])


def _each_once(found: Sequence[StoredDemonstration]) -> list[StoredDemonstration]:
    """The first of each feature."""
    first: dict[str, StoredDemonstration] = {}
    for one in found:
        first.setdefault(one.feature.name, one)
    return list(first.values())


def _demonstration(one: Demonstration, feature: FeatureSummary) -> StoredDemonstration:
    texts = [_text(one, text, feature) for text in one.texts]
    return StoredDemonstration(
        feature=feature,
        opening=one.opening,
        chat=one.chat,
        new_tokens=one.new_tokens,
        baseline=one.baseline.text,
        baseline_passages=marked(one.baseline.text, one.words),
        texts=texts,
        best=next(text for text in texts if text.strength == one.best_strength),
    )


def _text(one: Demonstration, text: SteeredText, feature: FeatureSummary) -> StoredText:
    href = steer_href(feature.name, one.opening, text.strength, chat=one.chat, new_tokens=one.new_tokens)
    return StoredText(text.strength, text.text, marked(text.text, one.words), text.responds, _tells(text, one), href)


def _tells(text: SteeredText, one: Demonstration) -> float:
    """The share by which a text moved, times the logarithm of how unlike the model's own it is to the model."""
    ratio = min(text.perplexity / one.baseline.perplexity, MOST_UNLIKE)
    return max(text.moved, 0.0) * max(math.log(ratio), 0.0)


def _found(measured: Responses) -> str:
    if measured.why_none:
        return f"No feature was measured to turn a text to its words. {measured.why_none}"
    what = f"{measured.written} features wrote texts while they were held; {measured.responded} responded"
    if not measured.chats and not measured.openings:
        return f"When this run was published, {what}: none is good enough to start with."
    return f"When this run was published, {what}. {measured.rule}"
