"""Search terms of features: the words of their labels, of the tokens they promote, and around their strongest tokens.

Shapes: F features of a batch, M examples.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.artifacts.corpus import TokenizedCorpus
from data.published.schemas import SEARCH
from data.published.terms import terms

NUM_TEXTS = 5
"""Of the strongest examples of a feature."""
TOKENS_AROUND = 6
"""Kept on either side of the strongest token."""
MAX_SIDE = 60
"""Characters on either side."""


class ExampleTexts:
    """Reads the surroundings of tokens as text."""

    def __init__(self, corpus: TokenizedCorpus, vocabulary: Sequence[bytes]) -> None:
        self._tokens, self._vocabulary = corpus.tokens.view(np.ndarray), vocabulary
        self._starts = corpus.offsets
        self._stops = self._starts + np.asarray(corpus.documents["num_tokens"], np.int64)

    def of_features(
        self, examples: pa.Table, first_F: npt.NDArray[np.int64], num_F: npt.NDArray[np.int64]
    ) -> list[list[str]]:
        """For every feature the texts around its examples `first` to `first + num` in a table of them."""
        document_M, position_M = (examples[name].to_numpy().astype(np.int64) for name in ("document", "position"))
        return [
            [self.around(int(document_M[m]), int(position_M[m])) for m in range(first, first + num)]
            for first, num in zip(first_F.tolist(), num_F.tolist(), strict=True)
        ]

    def around(self, document: int, position: int) -> str:
        """The text around a token of a document; a word that is cut at either end is left out."""
        start, stop = int(self._starts[document]), int(self._stops[document])
        at = start + position
        low, high = max(start, at - TOKENS_AROUND), min(stop, at + TOKENS_AROUND + 1)
        pieces = [self._vocabulary[token] for token in self._tokens[low:high].tolist()]
        before, centre, after = (
            _text(part) for part in (pieces[: at - low], pieces[at - low : at - low + 1], pieces[at - low + 1 :])
        )
        before, after = before[-MAX_SIDE:], after[:MAX_SIDE]
        if low > start:
            before = before.partition(" ")[2] or before
        if high < stop:
            after = after.rpartition(" ")[0] or after
        return before + centre + after


def search_batch(
    sae: str,
    first_row: int,
    features: Mapping[str, pa.Array],
    texts: Sequence[Sequence[str]],
    vocabulary: Sequence[bytes],
) -> pa.RecordBatch:
    """Some rows of data.published.schemas.SEARCH, for features of one SAE that follow one another from `first_row` on.

    `features` has columns num_active, live, rare, negligible, density, label, promoted; `texts` are those of each one's
    examples.
    """
    size = len(texts)
    promoted = [
        terms(vocabulary[token].decode(errors="ignore") for token in tokens)
        for tokens in features["promoted"].to_pylist()
    ]
    columns = {
        "row": np.arange(first_row, first_row + size),
        "sae": [sae] * size,
        "alive": features["num_active"].to_numpy() > 0,
        **{kind: features[kind] for kind in ("live", "rare", "negligible")},
        "density": features["density"],
        "texts": texts,
        "label": [terms([label]) for label in features["label"].to_pylist()],
        "promoted": promoted,
        "examples": [terms(some) for some in texts],
    }
    arrays = [pa.array(columns[field.name], field.type) for field in SEARCH]
    return pa.RecordBatch.from_arrays(arrays, schema=SEARCH)


def _text(pieces: Sequence[bytes]) -> str:
    """Bytes that are part of a character are left out."""
    return b"".join(pieces).decode(errors="ignore")
