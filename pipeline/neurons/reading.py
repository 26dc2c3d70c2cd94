"""One pass over the tokens: the sums of a range of neurons with all features, and the neurons' examples.

Shapes: S sequences of the corpus.
"""

import numpy as np
import torch

from pipeline.arrays import Ints
from pipeline.neurons.active import FeatureReader
from pipeline.neurons.block import NeuronBlock
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

    def add(self, block: NeuronBlock, document_S: Ints) -> None:
        """Take in a block of whole sequences. document_S: rows of their documents."""
        index_N = block.index_N
        if len(index_N) == 0:
            return
        self.sums.add(self._features.read(block.x_ND), block.neurons_PM, block.row_N)
        cuts = np.flatnonzero(np.diff(index_N["sequence"], prepend=-1))
        for start, stop in zip(cuts.tolist(), [*cuts[1:].tolist(), len(index_N)], strict=True):
            number, tokens = int(index_N["sequence"][start]), slice(start, stop)
            position_L = torch.from_numpy(index_N["position"][tokens].astype(np.int64)).to(block.neurons_PM.device)
            sequence = NeuronSequence(int(document_S[number]), number, position_L, block.neurons_of(tokens))
            self.examples.add(sequence)
