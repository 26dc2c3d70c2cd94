"""The texts that judges read: windows of tokens, some of them marked."""

from collections.abc import Collection, Sequence

from data.artifacts.corpus import TokenizedCorpus
from pipeline.models.nearness import mark


class WindowTexts:
    """Writes windows of a corpus as text."""

    def __init__(self, corpus: TokenizedCorpus, vocabulary: Sequence[bytes]) -> None:
        self._corpus, self._vocabulary = corpus, vocabulary
        self._document_S = corpus.sequences["document"]

    def text(self, sequence: int, start: int, stop: int, marked: Collection[int] = ()) -> str:
        """Tokens `start` to `stop` of the sequence's document; those at the offsets `marked` stand between marks.

        Bytes at either end that are part of a character are left out.
        """
        tokens = self._corpus.stretch(int(self._document_S[sequence]), start, stop - start).tolist()
        return mark([self._vocabulary[token] for token in tokens], marked)
