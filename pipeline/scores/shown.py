"""What a judge that writes labels is shown of a feature, as one text.

Texts of several bands of its range, its strongest tokens marked; texts in which it is not active on the same words; and
the next words that it makes more and less likely, as they were measured, or, where that was not, as its direction says.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import CONTRAST, INTERVAL, TOP
from pipeline.models.nearness import mark
from pipeline.scores.detection import THRESHOLD

STRONGEST, PER_BAND, CONTRASTS = 4, 1, 2
"""Texts: the strongest, of each band below them, and without it."""
AROUND = 10
"""Tokens on either side of the one that made an example."""
NEXT_TOKENS = 6
Row = dict[str, Any]


class NextTokens(NamedTuple):
    """Ids of the tokens that a feature makes more likely to come next, and less."""

    more: Sequence[int]
    less: Sequence[int]
    measured: bool


class ShownTexts:
    """Writes what is shown."""

    def __init__(self, corpus: TokenizedCorpus, vocabulary: Sequence[bytes]) -> None:
        self._corpus, self._vocabulary = corpus, vocabulary

    def write(self, examples: Sequence[Row], maximum: float, tokens: NextTokens) -> str:
        """examples: rows of EXAMPLES of one feature; maximum: of its activation."""
        lines = [f"{row['activation'] / maximum:.0%}: {self._text(row)}" for row in _chosen(examples)]
        contrasts = [row for row in examples if row["kind"] == CONTRAST][:CONTRASTS]
        lines += [f"Not: {self._text(row)}" for row in contrasts]
        names = ("More likely", "Less likely") if tokens.measured else ("Its direction promotes", "It suppresses")
        for name, ids in zip(names, (tokens.more, tokens.less), strict=True):
            if len(ids):
                lines.append(f"{name}: {', '.join(self._quoted(token) for token in ids[:NEXT_TOKENS])}")
        return "\n".join(lines)

    def _text(self, row: Row) -> str:
        """The words around an example: marked where it is strong, or, where it is active nowhere, at its own token."""
        start = max(row["start"], row["position"] - AROUND)
        stop = min(row["start"] + row["length"], row["position"] + AROUND + 1)
        skip = start - row["start"]
        pairs = ((offset - skip, value) for offset, value in zip(row["offsets"], row["values"], strict=True))
        values = {offset: value for offset, value in pairs if 0 <= offset < stop - start}
        floor = THRESHOLD * max(values.values(), default=0.0)
        strong = {offset for offset, value in values.items() if value >= floor}
        if row["kind"] == CONTRAST:
            strong = {row["position"] - start}
        tokens = self._corpus.stretch(row["document"], start, stop - start).tolist()
        return _on_one_line(mark([self._vocabulary[token] for token in tokens], strong))

    def _quoted(self, token: int) -> str:
        return f'"{_on_one_line(self._vocabulary[token].decode(errors="replace"))}"'


def _chosen(examples: Sequence[Row]) -> Iterator[Row]:
    """The strongest, then some of each band, from the highest down; none twice."""
    yield from [row for row in examples if row["kind"] == TOP][:STRONGEST]
    bands = [row for row in examples if row["kind"] == INTERVAL]
    for band in sorted({row["band"] for row in bands}, reverse=True):
        yield from [row for row in bands if row["band"] == band][:PER_BAND]


def _on_one_line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "⏎")
