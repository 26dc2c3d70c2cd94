"""The neurons of some whole sequences, as the model gave them.

Shapes: N tokens that count, P of these and attention sinks, D width, M neurons, T some of the tokens.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.arrays import Ints


class NeuronBlock(NamedTuple):
    """Some whole sequences."""

    x_ND: Tensor
    neurons_PM: Tensor
    """In the model's dtype. To leave the sinks out would copy all of it."""
    row_N: Ints
    """The rows of these neurons that count, ascending."""
    index_N: np.ndarray
    """Of dtype ROW, sorted by sequence, then position."""

    def neurons_of(self, tokens: slice) -> Tensor:
        """The neurons of some tokens that count, as a view where no sink stands among them."""
        row_T = self.row_N[tokens]
        if len(row_T) and row_T[-1] - row_T[0] == len(row_T) - 1:
            return self.neurons_PM[row_T[0] : row_T[-1] + 1]
        return self.neurons_PM[torch.from_numpy(row_T).to(self.neurons_PM.device)]
