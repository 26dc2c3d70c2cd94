"""The text by which a sentence encoder knows a feature: its label, the words at its peaks, and a few contexts."""

from collections import Counter
from collections.abc import Sequence

from data.published.terms import forms
from pipeline.examples.peaks import Peak

MOST_WORDS = 4
"""Different words at the peaks, the most frequent first."""
CONTEXTS = 2
"""Of the strongest examples."""
CONTEXT_WORDS = 4
"""On either side of the middle of a context. Encoding takes time by the word, and what is near says most."""


def describe(label: str, peaks: Sequence[Peak], contexts: Sequence[str]) -> str:
    """One line of text. Nothing of it depends on how labels are worded."""
    named = forms(label)
    counts = Counter(peak.word for peak in peaks if peak.word[:1].isalnum() and peak.word not in named)
    words = " ".join(word for word, _ in counts.most_common(MOST_WORDS))
    parts = [label, words, *map(_middle, dict.fromkeys(contexts[:CONTEXTS]))]
    return ". ".join(part for part in parts if part)


def _middle(context: str) -> str:
    """The words around the middle of a context."""
    words = context.split()
    middle = len(words) // 2
    return " ".join(words[max(0, middle - CONTEXT_WORDS) : middle + CONTEXT_WORDS + 1])
