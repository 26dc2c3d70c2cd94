"""Sections of the recipe on the autoencoders and their training."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from pipeline.recipe.imports import SAESource
from pipeline.recipe.placed import Placed
from pipeline.recipe.section import Fraction, Positive, Section, Slug, is_none


class SAEConfig(Placed):
    """One sparse autoencoder."""

    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True)

    architecture: Literal["relu", "topk", "batchtopk"]
    num_features: Annotated[int, Field(ge=2)]
    k: Positive | None = None
    """topk and batchtopk: active features per token (batchtopk: on average)."""
    l1_coefficient: Annotated[float, Field(ge=0)] = 5.0
    """relu: lambda of the design."""
    auxiliary_coefficient: Annotated[float, Field(ge=0)] = 1 / 32
    """topk and batchtopk: weight of the auxiliary loss that revives dead features."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    name: Annotated[Slug | None, Field(exclude_if=is_none)] = None
    """In addresses; None makes it of layer, architecture and number of features."""
    begin: Annotated[SAESource | None, Field(alias="from", exclude_if=is_none)] = None
    """from: an SAE of this architecture and size that training goes on from. One of a run here
    ("run:sample/14-topk-64"), a folder or a Hub id, in any format; a table where more is to be said of it. The
    optimiser starts anew: the learning rate rises over `warmup_fraction` of the steps, and the L1 coefficient is whole
    from the first."""

    @field_validator("begin", mode="before")
    @classmethod
    def _read_source(cls, begin: Any) -> Any:
        return {"source": begin} if isinstance(begin, str) else begin

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
