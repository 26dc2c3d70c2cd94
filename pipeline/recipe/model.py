"""Section of the recipe on the language model."""

from typing import Annotated, Literal

from pydantic import Field

from data.hooks import RESID_POST, Hook, Place
from pipeline.recipe.section import Section, Slug


class ModelConfig(Section):
    """The language model and the place in it that is read, by all autoencoders that name no other."""

    name: Slug
    """Its name in addresses, e.g. smollm2-135m."""
    source: str
    """"sample", a Hugging Face Hub id, or a local folder with safetensors and a tokenizer."""
    revision: str | None = None
    layer: Annotated[int, Field(ge=0)]
    """N, from 0."""
    hook: Annotated[Hook, Field(exclude_if=lambda hook: hook == RESID_POST)] = RESID_POST
    """The place at layer N that is read: the residual stream before it, between its attention and its MLP, or after it
    (resid_pre, resid_mid, resid_post), or what its attention (attn) or its MLP (mlp) adds to that stream."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    device: str = "cpu"
    """"cpu", "cuda", "cuda:N" or "mps". Never chosen for you."""

    @property
    def place(self) -> Place:
        """The hook that is read."""
        return Place(self.layer, self.hook)

    @property
    def num_layers_run(self) -> int:
        """Leading layers that are run up to the hook."""
        return self.place.num_layers
