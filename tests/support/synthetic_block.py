"""What is planted of the features of a synthetic run (synthetic_run.py): all of it follows from their places.

Shapes: B features, D width.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data.published.schemas import TOKENS_PER_CHUNK

if TYPE_CHECKING:
    from tests.support.synthetic_run import SyntheticRun

WIDTH = 8
DEAD_EVERY = 50
"""Features whose index is one less than a multiple of this are dead."""
NUM_WORDS, NUM_DOCUMENTS, CHUNKS_PER_DOCUMENT = 4096, 500, 4
NUM_TOKENS = NUM_DOCUMENTS * CHUNKS_PER_DOCUMENT * TOKENS_PER_CHUNK
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """Features of one SAE and what follows from their places in it."""

    run: "SyntheticRun"
    sae: int
    index: npt.NDArray[np.int64]

    @property
    def u(self) -> Floats:
        return self.index / self.run.sizes[self.sae]

    @property
    def live(self) -> npt.NDArray[np.bool_]:
        return self.index % DEAD_EVERY != DEAD_EVERY - 1

    @property
    def noise(self) -> Floats:
        """Uniform in [0, 1), four columns, the same for a feature in whichever block it stands."""
        mixed = (self.index[:, None].astype(np.uint64) + np.uint64(self.sae << 40)) * np.uint64(4) + np.arange(
            4, dtype=np.uint64
        )
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        return (mixed ^ (mixed >> np.uint64(31))) / 2.0**64

    @property
    def cluster(self) -> npt.NDArray[np.int64]:
        """More features in the later clusters."""
        return (self.u**1.5 * self.run.num_clusters).astype(np.int64)

    @property
    def density(self) -> Floats:
        """From 1e-5 to 1e-1, few of them high; 0 when dead."""
        return np.where(self.live, 10 ** (-5 + 4 * self.noise[:, 0] ** 2), 0)

    @property
    def num_active(self) -> npt.NDArray[np.int64]:
        """At least one token, unless dead."""
        return np.where(self.live, np.maximum(1, self.density * NUM_TOKENS), 0).astype(np.int64)

    @property
    def maximum(self) -> Floats:
        return 2 + 18 * self.noise[:, 1]

    @property
    def score(self) -> Floats:
        """Of the label: fifths of 1."""
        return np.round(5 * self.noise[:, 1]) / 5

    def live_rank(self) -> npt.NDArray[np.int64]:
        """Live features of the run before each."""
        before = sum(size - size // DEAD_EVERY for size in self.run.sizes[: self.sae])
        return before + self.index - self.index // DEAD_EVERY

    @property
    def promoted(self) -> npt.NDArray[np.int64]:
        """Tokens that each feature promotes [B, 10]."""
        return (self.index[:, None] * 7 + np.arange(10) * 131) % NUM_WORDS

    @property
    def label_words(self) -> npt.NDArray[np.int64]:
        """Numbers of the two words of each label [B, 2]: the cluster's and the feature's."""
        return np.stack([self.cluster, self.index * 17], 1) % NUM_WORDS

    def labels(self) -> pa.Array:
        """The label's words; "" when dead."""
        words = pa.array(self.run.words)
        first, second = (words.take(numbers) for numbers in self.label_words.T)
        return pc.if_else(pa.array(self.live), pc.binary_join_element_wise(first, second, " "), "")

    def places(self) -> Floats:
        """On the map [B, 2]: normal around the centre of the cluster, clusters of different widths."""
        width_B = 0.06 + 0.25 * (self.cluster * 37 % 101 / 101) ** 3
        radius_B = width_B * np.sqrt(-2 * np.log1p(-self.noise[:, 2]))
        turn_B = 2 * np.pi * self.noise[:, 3]
        return self.run.centres[self.cluster] + radius_B[:, None] * np.stack([np.cos(turn_B), np.sin(turn_B)], 1)

    def vectors(self) -> npt.NDArray[np.float32]:
        """Norm 1; those of a cluster near each other."""
        turns_BD = self.cluster[:, None] * np.sqrt(np.arange(2, 2 + WIDTH)) + 0.3 * np.tile(self.noise, 2)[:, :WIDTH]
        vectors_BD = np.sin(turns_BD)
        return (vectors_BD / np.linalg.norm(vectors_BD, axis=1, keepdims=True)).astype(np.float32)
