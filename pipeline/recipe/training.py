"""Sections of the recipe on the autoencoders and their training."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.recipe.section import Fraction, Positive, Section


class SAEConfig(Section):
    """One sparse autoencoder."""

    architecture: Literal["relu", "topk", "batchtopk"]
    num_features: Annotated[int, Field(ge=2)]
    k: Positive | None = None
    """topk and batchtopk: active features per token (batchtopk: on average)."""
    l1_coefficient: Annotated[float, Field(ge=0)] = 5.0
    """relu: lambda of the design."""
    auxiliary_coefficient: Annotated[float, Field(ge=0)] = 1 / 32
    """topk and batchtopk: weight of the auxiliary loss that revives dead features."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3

    @model_validator(mode="after")
    def _check_k(self) -> Self:
        if self.architecture != "relu" and (self.k is None or self.k >= self.num_features):
            raise ValueError(f"architecture '{self.architecture}' needs k, below num_features")
        if self.architecture == "relu" and self.k is not None:
            raise ValueError("architecture 'relu' takes no k")
        return self


class TrainConfig(Section):
    """Training of the autoencoders, all from one reading of the shards."""

    saes: tuple[SAEConfig, ...] = ()
    """None where SAEs are imported."""
    batch_size: Positive = 4096
    """Tokens in one step."""
    epochs: Positive = 1
    """Readings of all activations, each in an order of its own."""
    warmup_fraction: Fraction = 0.05
    """Share of the steps over which the L1 coefficient rises linearly from 0."""
    decay_fraction: Fraction = 0.2
    """Share of the steps, at the end, over which the learning rate falls linearly to 0."""
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 60.0
