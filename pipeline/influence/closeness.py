"""Closeness of words to a feature's evidence, by the model's own embeddings.

    closeness(v) = max over words e of the evidence of  weight_e (cos(v, e) - UNRELATED) / (SAME - UNRELATED)

where the fraction is cut to 0 to 1, and weight_e is the log-odds of e as a share of the highest. The vector of a word
is the mean of its tokens' rows of the unembedding, whitened: the mean row taken off, and every direction scaled to the
same variance over the vocabulary. Otherwise any two frequent words are alike. So "queen" is close to "king", though it
stands in none of the examples.

Shapes: V vocabulary, D width, W words, E words of the evidence, N tokens.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pipeline.influence.evidence import Evidence, words_of
from pipeline.models.tokenizer import Tokenizer

UNRELATED, SAME = 0.12, 0.5
"""Cosines of words that count as unrelated, and as the same: of a word with its plural, or king with queen."""
MIN_WORDS = 16
"""A text of fewer different words counts as if it had so many."""
MAX_ROWS = 65_536
"""Rows of the unembedding by which it is whitened."""
SMALLEST = 1e-4
"""Variances below this share of the largest count as so large."""


def mean_closeness(by_word: Mapping[str, float]) -> float:
    """Of a text, from the closeness of its different words."""
    return sum(by_word.values()) / max(len(by_word), MIN_WORDS)


class Closeness:
    """Closeness of words to evidence."""

    def __init__(self, unembedding_VD: Tensor, tokenizer: Tokenizer) -> None:
        self._rows_VD, self._tokenizer = unembedding_VD, tokenizer
        some_ND = unembedding_VD[:: -(-len(unembedding_VD) // MAX_ROWS)].float()
        self._mean_D = some_ND.mean(0)
        centred_ND = some_ND - self._mean_D
        variance_D, axes_DD = torch.linalg.eigh(centred_ND.T @ centred_ND / len(centred_ND))
        self._whiten_DD = axes_DD / variance_D.clamp(min=SMALLEST * float(variance_D.max())).sqrt()
        self._known: dict[str, Tensor] = {}

    def of_text(self, text: str, evidence: Evidence) -> float:
        """The mean closeness of the different words of a text."""
        return mean_closeness(self.by_word(text, evidence))

    def by_word(self, text: str, evidence: Evidence) -> dict[str, float]:
        """The closeness of each different word of a text."""
        words = sorted(set(words_of(text)))
        return dict(zip(words, self.of_words(words, evidence).tolist(), strict=True)) if words else {}

    def of_words(self, words: Sequence[str], evidence: Evidence) -> Tensor:
        """The closeness of each word [W]."""
        return self._closeness(self._vectors(words), evidence)

    def of_tokens(self, token_N: Tensor, evidence: Evidence) -> Tensor:
        """The closeness of each token, as if it were a word [N]."""
        return self._closeness(self._whitened(self._rows_VD[token_N]), evidence)

    def _closeness(self, vector_WD: Tensor, evidence: Evidence) -> Tensor:
        cosine_WE = vector_WD @ self._vectors(evidence.words).T
        weight_E = torch.tensor(evidence.weights, device=cosine_WE.device)
        close_WE = ((cosine_WE - UNRELATED) / (SAME - UNRELATED)).clamp(0, 1) * (weight_E / weight_E.max())
        return close_WE.amax(1)

    def _vectors(self, words: Sequence[str]) -> Tensor:
        for word in words:
            if word not in self._known:
                self._known[word] = self._vector(word)
        return torch.stack([self._known[word] for word in words])

    def _vector(self, word: str) -> Tensor:
        """Of a word as it stands in a sentence: in lower case or as a name, whichever is fewer tokens."""
        forms = [self._tokenizer.encode(f" {form}") for form in (word, word.capitalize())]
        return self._whitened(self._rows_VD[torch.tensor(min(forms, key=len))].float().mean(0))

    def _whitened(self, rows: Tensor) -> Tensor:
        """Rows [..., D] as whitened vectors of norm 1."""
        return torch.nn.functional.normalize((rows.float() - self._mean_D) @ self._whiten_DD, dim=-1)
