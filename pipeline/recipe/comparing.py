"""Section of the recipe on random features against random neurons: the same examples, judges and scores for both."""

from typing import Annotated

from pydantic import Field

from pipeline.recipe.section import Positive, Section


class CompareConfig(Section):
    """Random features of every autoencoder against random MLP neurons of the layers up to the one that is read."""

    n: Annotated[int, Field(ge=0, le=10_000)] = 30
    """Features drawn of every autoencoder, and as many neurons; 0 compares none."""
    max_tokens: Positive = 7_000
    """Training tokens that are read for examples and samples, and as many held-out ones, on which rules are tried."""
    min_active: Annotated[int, Field(ge=2)] = 10
    """What is active on fewer of the training tokens is passed over: too little is seen of it to say what it means."""
    samples: Positive = 20
    """Activations of each that judges see, drawn evenly over the bands of its range."""
    examples: Positive = 5
    """detection and fuzzing: texts with each, and as many without it."""
