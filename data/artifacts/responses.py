"""Responses: the texts that a model writes with a feature held, as stage `respond` measures them and pages show them.

    Responses
    |-- chats      the best answers to chat messages, the best first: pages lead with the first
    `-- openings   the best continuations of plain text, the best first
        each a Demonstration: one feature after one opening
            |-- baseline   what the model writes by itself
            `-- texts      what it writes at each strength, the lowest first

The file of the artifact has them under `shown`. Beside them stand `measured`: every text that was written, of every
feature, with what it was judged by; and `best_strengths`: by name of an SAE and index of a feature, the strength of the
best text that responds, of every feature that has one.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

RESPONSES_FILE = "responses.json"


@dataclass(frozen=True)
class BaselineText:
    """A text that the model wrote by itself, at temperature 0."""

    text: str
    """Without the opening."""
    perplexity: float
    """Of the text after its opening, for the model by itself."""


@dataclass(frozen=True)
class SteeredText:
    """A text that the model wrote with the feature held, at temperature 0."""

    strength: float
    """Times the feature's highest activation on the corpus."""
    text: str
    """Without the opening."""
    moved: float
    """Share by which its words moved toward the feature's evidence, against the baseline; see docs/method.md."""
    perplexity: float
    """Of the text after its opening, for the model by itself, with nothing held."""
    responds: bool
    """By the rule of `Responses.rule`."""


@dataclass(frozen=True)
class Demonstration:
    """One feature after one opening, without and at several strengths."""

    sae: str
    index: int
    label: str
    words: tuple[str, ...]
    """The feature's evidence: words of its strongest examples, most telling first."""
    opening: str
    """A message to the assistant where `chat`, else a text to continue."""
    chat: bool
    new_tokens: int
    """Most tokens of a text."""
    baseline: BaselineText
    texts: tuple[SteeredText, ...]
    """The lowest strength first."""
    best_strength: float
    """Strength of the best text that responds."""

    @property
    def best(self) -> SteeredText:
        """The text at the best strength."""
        return next(text for text in self.texts if text.strength == self.best_strength)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """One from plain JSON."""
        texts = tuple(SteeredText(**text) for text in raw["texts"])
        return cls(**{**raw, "words": tuple(raw["words"]), "baseline": BaselineText(**raw["baseline"]), "texts": texts})


@dataclass(frozen=True)
class Responses:
    """All that pages need to know of a run's responses."""

    why_none: str | None
    """The reason why nothing was measured, as a sentence; None when something was."""
    probed: int = 0
    """Features that were probed."""
    written: int = 0
    """Features of these that wrote texts."""
    responded: int = 0
    """Features of these with a text that responds."""
    rule: str = ""
    """What makes a text respond, as a sentence."""
    chats: tuple[Demonstration, ...] = ()
    openings: tuple[Demonstration, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """The same from plain JSON."""
        demonstrations = {
            name: tuple(Demonstration.from_json(one) for one in raw[name]) for name in ("chats", "openings")
        }
        return cls(**{**raw, **demonstrations})


def read_best_strengths(folder: Path) -> dict[str, dict[int, float]]:
    """The strength of the best text that responds, by SAE and feature, of an artifact of stage `respond`."""
    found = json.loads((folder / RESPONSES_FILE).read_text())["best_strengths"]
    return {sae: {int(index): float(strength) for index, strength in of.items()} for sae, of in found.items()}


Continuations = dict[tuple[str, int, str, float], str]
"""Texts by SAE, index of a feature, opening and strength."""


def read_continuations(folder: Path) -> Continuations:
    """The texts that were written after plain openings up to their full length, of an artifact of stage `respond`.

    Of two at the same strength, the one that was written last, which is the longer one.
    """
    measured = json.loads((folder / RESPONSES_FILE).read_text())["measured"]
    return {
        (one["sae"], one["index"], one["opening"], one["strength"]): one["text"]
        for one in measured
        if not one["chat"] and one["ending"] == "length"
    }


def read_shown(folder: Path) -> Responses:
    """What pages show, of an artifact of stage `respond`."""
    return Responses.from_json(json.loads((folder / RESPONSES_FILE).read_text())["shown"])


def read_shown_features(folder: Path) -> dict[str, list[int]]:
    """The features whose texts pages show, by SAE, the first to be shown first, of an artifact of stage `respond`."""
    shown = read_shown(folder)
    found: dict[str, list[int]] = {}
    for one in (*shown.chats, *shown.openings):
        if one.index not in found.setdefault(one.sae, []):
            found[one.sae].append(one.index)
    return found
