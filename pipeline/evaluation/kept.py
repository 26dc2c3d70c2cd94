"""What SAEs are active on in the held-out text that labels are tried on, kept while it is read for the metrics.

Shapes: S sequences that are read, N tokens of the text, F features, K active pairs.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data.artifacts.features import ACTIVATIONS_FILE, COUNTED_FILE
from pipeline.arrays import Floats, Ints
from pipeline.evaluation.held_out import HeldOutBatch
from pipeline.labels.pairs import FeatureActivity
from pipeline.models.left_out import OPENING
from pipeline.models.sae import SAE, SparseActivations


class KeptActivations:
    """Takes in what an evaluator sees, and writes `counted.npy` and `{sae}/activations.arrow`."""

    def __init__(self, first_S: Ints, num_tokens: int, saes: Mapping[str, SAE]) -> None:
        """first_S: number in the text of each sequence's first token, -1 where it is not in the text."""
        self._first_S = first_S
        self._counted_N = np.zeros(num_tokens, bool)
        self._num_features = {name: sae.num_features for name, sae in saes.items()}
        self._parts: dict[str, list[tuple[Ints, Ints, Floats]]] = {name: [] for name in saes}

    def add(self, batch: HeldOutBatch, name: str, sparse: SparseActivations) -> None:
        """Take in a batch's activations of one SAE."""
        row_B, place_B = (column.numpy() for column in batch.counted_BL.cpu().nonzero(as_tuple=True))
        first_B = self._first_S[batch.place_B][row_B]
        number_B = np.where(first_B < 0, -1, first_B + place_B - OPENING - 1)
        self._counted_N[number_B[number_B >= 0]] = True
        token_K, feature_K, value_K = (column.cpu().numpy() for column in sparse)
        number_K = number_B[token_K]
        kept_K = number_K >= 0
        self._parts[name].append((feature_K[kept_K], number_K[kept_K], value_K[kept_K]))

    def write(self, folder: Path) -> None:
        """Write the files of what was taken in."""
        np.save(folder / COUNTED_FILE, self._counted_N)
        for name, parts in self._parts.items():
            (folder / name).mkdir(exist_ok=True)
            FeatureActivity.of_parts(parts, self._num_features[name]).save(folder / name / ACTIVATIONS_FILE)
