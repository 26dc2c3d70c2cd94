"""Responses as if something had been written: good texts, a hostile one, and what the rule refuses."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from data.artifacts.responses import BaselineText, Demonstration, Responses, SteeredText

RULE = "A text responds when its words move toward the feature’s own."
STRENGTHS = (0.5, 1.0, 1.5, 2.0, 3.0)
CHATS = ("Who are you?", "Tell me about yourself.", "Give me some advice.")
NEW_TOKENS = 48


def make_demonstration(sae: str, index: int, **changes: Any) -> Demonstration:
    """A chat that responds at 1.5 and at 2 times the maximum, best at 2."""
    said = ["I am an assistant.", "I am an assistant of the river.", "I am a river, wide and old.",
            "I am the river and the sea.", "river river river"]  # fmt: skip
    texts = tuple(
        SteeredText(strength, text, moved=place / 10, perplexity=4.0 + place, responds=strength in (1.5, 2.0))
        for place, (strength, text) in enumerate(zip(STRENGTHS, said, strict=True))
    )
    values = {
        "label": "river", "words": ("river", "sea"), "opening": CHATS[0], "chat": True, "new_tokens": NEW_TOKENS,
        "baseline": BaselineText("I am an assistant. How can I help?", 2.5), "texts": texts, "best_strength": 2.0,
    }  # fmt: skip
    return Demonstration(**{"sae": sae, "index": index, **values, **changes})


def make_responses(
    sae: str, hostile: str, *, first: int, openings: Sequence[str] = ("I am a", "She is the")
) -> Responses:
    """Three chats and two plain openings, of features from `first` on; the second of each writes `hostile`."""
    chats = [make_demonstration(sae, first + place, opening=opening) for place, opening in enumerate(CHATS)]
    plain = [
        make_demonstration(sae, first + place, opening=opening, chat=False, label="war", words=("war", hostile))
        for place, opening in enumerate(openings)
    ]
    chats[1], plain[1] = (_with_text(one, hostile) for one in (chats[1], plain[1]))
    return Responses(None, probed=12, written=5, responded=3, rule=RULE, chats=tuple(chats), openings=tuple(plain))


def _with_text(one: Demonstration, text: str) -> Demonstration:
    texts = tuple(replace(best, text=text) if best == one.best else best for best in one.texts)
    return replace(one, texts=texts)
