"""Names for the children of a split: what sets each apart from its siblings, read off where they are strongest.

Of every child's strongest examples the word that holds the peak counts, the words beside it, and the words near. What
many of its examples have and few of any sibling's have is what sets it apart.
"""

import re
from collections.abc import Sequence

from backend.published.examples import Example

NEAR_WORDS = 12
"""Words before and after the peak that count as near."""
LEAST_SHARE, LEAST_LEAD = 0.25, 0.2
"""What names a child holds on this share of its examples, and on so much more of them than of any sibling's."""
MOST_ITEMS = 3
_LITTLE = (
    "about after also another been before being both could first from have into more most only other over same some "
    "such than that their them then there these they this those through under until upon were what when where which "
    "while who will with would"
)
LITTLE = frozenset(_LITTLE.split())
"""Words that say nothing by standing near."""
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+|[^\w\s]")

Clue = tuple[str, str]
"""Where a word stands ("", after, before, near), and the word."""
PLACES = ("", "after", "before", "near")
WEIGHTS = {"": 1.0, "after": 0.8, "before": 0.8, "near": 0.6}
"""A word is the better name the nearer it stands."""


def set_apart(children: Sequence[Sequence[Example]]) -> list[str]:
    """For each of some siblings, given by their examples, what sets it apart; "" where nothing does."""
    found = [_shares(examples) for examples in children]
    if len(found) < 2:
        return [""] * len(found)
    return [_name(own, [other for other in found if other is not own]) for own in found]


def _name(own: dict[Clue, float], others: list[dict[Clue, float]]) -> str:
    lead = {clue: share - max(other.get(clue, 0.0) for other in others) for clue, share in own.items()}
    telling = [clue for clue in own if own[clue] >= LEAST_SHARE and lead[clue] >= LEAST_LEAD]
    if not telling:
        return ""
    best = max(telling, key=lambda clue: (WEIGHTS[clue[0]] * lead[clue], clue))
    same = sorted((clue for clue in telling if clue[0] == best[0]), key=lambda clue: (-lead[clue], clue))
    words = " / ".join(f'"{word}"' for _, word in same[:MOST_ITEMS])
    return f"{best[0]} {words}".strip()


def _shares(examples: Sequence[Example]) -> dict[Clue, float]:
    """The share of the examples that have each clue."""
    counts: dict[Clue, int] = {}
    for example in examples:
        for clue in clues(example):
            counts[clue] = counts.get(clue, 0) + 1
    return {clue: count / len(examples) for clue, count in counts.items()}


def clues(example: Example) -> set[Clue]:
    """What stands at the peak of an example, beside it and near it."""
    place = example.position - example.start
    texts = [" " if token.mark else token.text for token in example.tokens]
    before, text = "".join(texts[:place]), "".join(texts)
    end = len(before) + len(texts[place].rstrip())
    words = list(_WORD.finditer(text))
    at = next((number for number, word in enumerate(words) if word.end() >= end), len(words) - 1)
    if at < 0:
        return set()
    found = {("", words[at][0].casefold())}
    found |= {("after", words[at - 1][0].casefold())} if at else set()
    found |= {("before", words[at + 1][0].casefold())} if at + 1 < len(words) else set()
    near = (*words[max(0, at - NEAR_WORDS) : at], *words[at + 1 : at + 1 + NEAR_WORDS])
    telling = {word[0].casefold() for word in near if len(word[0]) > 3 and word[0].isalpha()} - LITTLE
    return found | {("near", word) for word in telling}
