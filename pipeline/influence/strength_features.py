"""The features that are measured at one strength after the other, and the words of each.

First those that respond when they are held, those that pages lead with before the others, up to half of all; then
features drawn at random from the live ones, the same number of each autoencoder while there are some. The words of a
feature are the next tokens that it was measured to raise most; where its effects were not measured, the first tokens of
the words on which it is strongest. A feature without either is not measured.

Shapes: F features of one SAE.
"""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.artifacts.responses import Responses
from pipeline.arrays import Mask
from pipeline.influence.strengths import HeldFeature
from pipeline.models.tokenizer import Tokenizer

FROM_EFFECTS, FROM_PEAKS = "effects", "peaks"


class Told(NamedTuple):
    """What is known of the features of one SAE; all [F]."""

    name: str
    live_F: Mask
    max_F: Sequence[float]
    labels: pa.ChunkedArray
    top_words: pa.ChunkedArray
    """Words that each is strongest on."""
    raised: pa.ChunkedArray
    """Ids of the tokens that each raises most."""

    @property
    def able_F(self) -> Mask:
        """Whether each is live and has words."""
        raises_F, peaks_F = (pc.list_value_length(column).to_numpy() > 0 for column in (self.raised, self.top_words))
        able_F: Mask = self.live_F & (raises_F | peaks_F)
        return able_F


def choose_held(
    saes: Sequence[Told], responses: Responses, responding: Mapping[str, Mapping[int, float]], tokenizer: Tokenizer,
    *, count: int, words: int, seed: int,
) -> list[HeldFeature]:  # fmt: skip
    """Up to `count` features, see the top of this file, sorted by SAE and index. words: of each, at most."""
    able = {sae.name: sae.able_F for sae in saes}
    shown = [(one.sae, one.index) for one in (*responses.chats, *responses.openings)]
    others = [(sae.name, index) for sae in saes for index in sorted(responding.get(sae.name, ()))]
    first = [(sae, index) for sae, index in dict.fromkeys([*shown, *others]) if able[sae][index]][: -(-count // 2)]
    drawn = _draw(able, set(first), count - len(first), seed)
    found = []
    for sae in saes:
        for index in sorted(index for name, index in (*first, *drawn) if name == sae.name):
            label, raised = sae.labels[index].as_py(), sae.raised[index].as_py()
            ids = tuple(raised) or _first_tokens(sae.top_words[index].as_py(), tokenizer)
            origin, is_drawn = FROM_EFFECTS if raised else FROM_PEAKS, (sae.name, index) in drawn
            found.append(HeldFeature(sae.name, index, label, float(sae.max_F[index]), ids[:words], origin, is_drawn))
    return found


def _draw(able: Mapping[str, Mask], first: set[tuple[str, int]], count: int, seed: int) -> list[tuple[str, int]]:
    """So many others, one of each SAE in turn."""
    rng = np.random.default_rng(seed)
    by_sae = []
    for name, able_F in able.items():
        index_N = rng.permutation(np.flatnonzero(able_F)).tolist()
        by_sae.append([(name, index) for index in index_N if (name, index) not in first][:count])
    return [one for several in zip_longest(*by_sae) for one in several if one is not None][:count]


def _first_tokens(words: Sequence[str], tokenizer: Tokenizer) -> tuple[int, ...]:
    """The token that each word begins with after a space, once each."""
    return tuple(dict.fromkeys(tokenizer.encode(f" {word}")[0] for word in words))
