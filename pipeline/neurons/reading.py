"""One pass over the tokens: the sums of a range of neurons with all features, and the neurons' examples.

Shapes: N tokens of a block, D width, M neurons of the pass, S sequences of the corpus.
"""

import numpy as np
import torch
from torch import Tensor

from pipeline.arrays import Ints
from pipeline.neurons.active import FeatureReader
from pipeline.neurons.correlation import CorrelationSums
from pipeline.neurons.examples import NeuronExamples, NeuronSequence
from pipeline.neurons.passes import NeuronRange
from pipeline.recipe.neurons import NeuronsConfig


class PassReader:
    """What a pass gathers."""

    def __init__(
        self,
        features: FeatureReader,
        neurons: NeuronRange,
        config: NeuronsConfig,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        """dtype: of the neurons."""
        self._features = features
        self.sums = CorrelationSums(features.num_features, len(neurons), device)
        self.examples = NeuronExamples(len(neurons), config.examples, config.context, dtype, device)

    def add(self, x_ND: Tensor, neurons_NM: Tensor, index_N: np.ndarray, document_S: Ints) -> None:
        """Take in a block of whole sequences. index_N: of dtype ROW; document_S: rows of their documents."""
        if len(index_N) == 0:
            return
        self.sums.add(self._features.read(x_ND), neurons_NM)
        cuts = np.flatnonzero(np.diff(index_N["sequence"], prepend=-1))
        for start, stop in zip(cuts, [*cuts[1:], len(index_N)], strict=True):
            number = int(index_N["sequence"][start])
            position_L = torch.from_numpy(index_N["position"][start:stop].astype(np.int64)).to(neurons_NM.device)
            self.examples.add(NeuronSequence(int(document_S[number]), number, position_L, neurons_NM[start:stop]))
