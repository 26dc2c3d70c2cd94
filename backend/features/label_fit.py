"""How well the label of a feature tells where it is active, in words."""

import json
from dataclasses import dataclass
from typing import Any

from backend.html.formats import count
from backend.published.catalogue import OpenRun
from backend.published.corrections import Correction
from backend.published.features import Feature
from data.artifacts.features import LABEL_LEVELS
from data.published.limits import MAX_LABEL, MAX_NOTE

TESTED = {
    "held-out": "on held-out text, which no SAE was trained on and no label was made from",
    "training": "on held-out text, where it hardly fires, and on training text that the label was not made from",
}
UNLABELLED = "No short rule tells where it is active: these are the words that it is strongest on."
KINDS = {
    "word": "is {}",
    "class": "is one of the {}",
    "trait": "is: {}",
    "stem": "begins with {}",
    "affix": "begins or ends with {}",
    "piece": "has the token {}",
}
WORDS = {"here": "the word", "previous": "the word before", "next": "the next word"}
PARTS = {"any": "", "first": "; on the word’s first token", "last": "; on the word’s last token"}


@dataclass(frozen=True)
class LabelFit:
    """What a page says of the label that statistics found."""

    text: str
    """Precision and recall, or why there is no label; "" for a dead feature."""
    about: str
    """What these are, and of which text."""
    rule: str
    """The label as the rule that it is."""
    levels: list[tuple[str, str]]
    """Activation at or above, and the share of tokens there that the label covers."""
    earlier: Correction
    """What an owner wrote of the feature of this number in an earlier state."""
    max_label: int = MAX_LABEL
    max_note: int = MAX_NOTE


def label_fit(run: OpenRun, feature: Feature) -> LabelFit:
    """What a page says of a feature's label."""
    earlier = run.corrections.earlier(feature.sae, feature.index)
    if feature.dead:
        return LabelFit("", "", "", [], earlier)
    if not feature.label:
        return LabelFit(UNLABELLED, "", "", [], earlier)
    if feature.label_precision is None or feature.label_recall is None:
        about = "Statistics did not try it: how it does by judges stands among the candidates below."
        return LabelFit("not tried by statistics", about, rule_text(feature.label_rule), [], earlier)
    text = (
        f"right on {feature.label_precision:.0%} of the tokens it names, which hold {feature.label_recall:.0%} of the "
        "feature’s activation"
    )
    tested = TESTED.get(feature.label_tested, "")
    named = count(feature.label_said or 0)
    active = f"the feature is active on {feature.label_precision:.0%} of them"
    about = f"Tried {tested}: it names {named} tokens there, and {active}."
    return LabelFit(text, about, rule_text(feature.label_rule), _levels(feature), earlier)


def _levels(feature: Feature) -> list[tuple[str, str]]:
    names = ["any", *(f"from {level:.0%} of its maximum" for level in LABEL_LEVELS[1:])]
    covered = ["–" if share is None else f"{share:.0%}" for share in feature.label_levels]
    return list(zip(names, covered, strict=False))


def rule_text(rule: str) -> str:
    """A rule as a sentence; "" for none."""
    if not rule:
        return ""
    found: dict[str, Any] = json.loads(rule)
    conditions = " and ".join(_condition(**condition) for condition in found["conditions"])
    return f"As a rule: {conditions}{PARTS.get(found['part'], '')}."


def _condition(at: str, kind: str, words: list[str]) -> str:
    quoted = " or ".join(f'"{word}"' for word in words)
    if at == "near":
        return f"{quoted} stands near"
    named = " or ".join(words) if kind in ("class", "trait") else quoted
    return f"{WORDS[at]} {KINDS[kind].format(named)}"
