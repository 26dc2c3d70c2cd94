"""Labels and notes that owners of this server wrote, as they are laid over what is published.

They are kept by model, SAE and index, with a hash of the feature's decoder direction: after a republish with other
weights the same number is another feature, and what was written is then of an earlier state.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from data.published.terms import terms


@dataclass(frozen=True, slots=True)
class Correction:
    """What an owner wrote about one feature."""

    label: str = ""
    """"" for none."""
    note: str = ""
    """"" for none."""
    changed: datetime | None = None
    """UTC; None when nobody wrote anything."""

    @property
    def is_empty(self) -> bool:
        return not (self.label or self.note)


NOTHING = Correction()


class Corrections:
    """The corrections of one run. Replaced as a whole when somebody writes one."""

    def __init__(self) -> None:
        self._current: Mapping[tuple[str, int], Correction] = {}
        self._earlier: Mapping[tuple[str, int], Correction] = {}
        self._by_term: Mapping[str, frozenset[tuple[str, int]]] = {}

    def replace(
        self, current: Mapping[tuple[str, int], Correction], earlier: Mapping[tuple[str, int], Correction]
    ) -> None:
        """Take these by SAE and index: of the published state, and of earlier ones."""
        by_term: dict[str, set[tuple[str, int]]] = {}
        for name, correction in current.items():
            for term in terms([correction.label]) if correction.label else ():
                by_term.setdefault(term, set()).add(name)
        self._by_term = {term: frozenset(names) for term, names in by_term.items()}
        self._current, self._earlier = current, earlier

    def of(self, sae: str, index: int) -> Correction:
        """What an owner wrote about a feature as it is published now."""
        return self._current.get((sae, index), NOTHING)

    def earlier(self, sae: str, index: int) -> Correction:
        """What an owner wrote about the feature of this number in an earlier state."""
        return self._earlier.get((sae, index), NOTHING)

    def labelled(self) -> list[tuple[str, int]]:
        """SAE and index of all features with an owner's label."""
        return [name for name, correction in self._current.items() if correction.label]

    def containing(self, text: str) -> list[tuple[str, int]]:
        """SAE and index of the features whose owner's label contains a text, in any case."""
        wanted = text.casefold()
        return [name for name in self.labelled() if wanted in self._current[name].label.casefold()]

    def matching(self, words: Sequence[str]) -> list[tuple[str, int]]:
        """SAE and index of the features whose owner's label has a word that begins as each of these does."""
        found = [self._by_term.get(word, frozenset()) for word in words]
        return sorted(frozenset.intersection(*found)) if found else []


def direction_hash(vector_D: npt.NDArray[np.float32]) -> str:
    """A name for a decoder direction: the same after every republish of the same weights."""
    return hashlib.sha256(np.ascontiguousarray(vector_D, "<f4").tobytes()).hexdigest()[:32]
