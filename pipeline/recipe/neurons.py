"""Section of the recipe on the comparison of features with the model's neurons."""

from typing import Annotated

from pydantic import Field

from pipeline.recipe.section import Positive, Section


class NeuronsConfig(Section):
    """Correlation of features with the MLP neurons of every layer up to the one that is read."""

    features: Annotated[int, Field(ge=0)] = 16_384
    """Features that are correlated: the most active of every autoencoder, the same share of each, up to so many
    together; 0 correlates none."""
    max_tokens: Positive = 24_000
    """Tokens that are read, of random sequences of the training documents."""
    min_active: Annotated[int, Field(ge=2)] = 20
    """A feature that is active on fewer of these tokens has no r: of so many neurons one would seem to fit it."""
    best: Annotated[int, Field(ge=1, le=100)] = 10
    """Neurons kept of each feature, those with the highest |r|."""
    shown: Annotated[int, Field(ge=0)] = 3
    """Of these, so many come with examples of their own."""
    examples: Annotated[int, Field(ge=1, le=100)] = 5
    """Examples of a neuron, each from another document."""
    context: Annotated[int, Field(ge=0, le=1000)] = 20
    """Tokens kept on either side of an example's."""
    memory_gb: Annotated[float, Field(gt=0)] = 2.0
    """Memory (GB of 10^9 bytes) beside the model and the autoencoders; where it is not enough for all neurons at once,
    the tokens are read several times, for some of the neurons each."""
