"""Text on which rules are tried, each context of it once, and none from which rules may have been made.

Of copies (data.artifacts.contexts) one is evidence: a rule that is right on forty copies of a sentence is right once.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from data.artifacts.contexts import context_hashes
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import INTERVAL, TOP
from pipeline.arrays import Ints, contains, pack_tokens, unpack_tokens


class FreshText:
    """Says of tokens, block after block, which stand in a context that was not there before."""

    def __init__(self, corpus: TokenizedCorpus, known: Ints, seen: set[int] | None = None) -> None:
        """known, seen: contexts that count as having been there; to `seen` those are added that come."""
        self._corpus, self._known = corpus, known
        self.seen = set[int]() if seen is None else seen

    def places(self, document_N: Ints, position_N: Ints) -> Ints:
        """The places among some tokens of those that are new, and of several in one context the first [K]."""
        context_N = context_hashes(self._corpus, document_N, position_N)
        maybe = np.flatnonzero(~contains(self._known, context_N))
        fresh = []
        for place, context in zip(maybe.tolist(), context_N[maybe].tolist(), strict=True):
            if context not in self.seen:
                self.seen.add(context)
                fresh.append(place)
        return np.array(fresh, np.int64)


def evidence_contexts(corpus: TokenizedCorpus, tables: Iterable[pa.Table], usable_D: np.ndarray) -> Ints:
    """The contexts of examples that rules are made from, in some documents [D], sorted. tables: of EXAMPLES."""
    found = [np.zeros(0, np.int64)]
    for table in tables:
        kind_N = table["kind"].to_numpy()
        document_N, position_N = (table[name].to_numpy().astype(np.int64) for name in ("document", "position"))
        wanted_N = ((kind_N == TOP) | (kind_N == INTERVAL)) & usable_D[document_N]
        token_K = np.unique(pack_tokens(document_N, position_N)[wanted_N])
        found.append(np.unique(context_hashes(corpus, *unpack_tokens(token_K))))
    return np.unique(np.concatenate(found))
