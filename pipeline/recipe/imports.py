"""Section of the recipe on SAEs that others trained, which take the place of training."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline.recipe.placed import Placed
from pipeline.recipe.section import Positive, Section, Slug

FormatName = Literal["saelens", "sparsify", "dictionary_learning", "gemma_scope", "openmoss", "monosema"]


class SAESource(Section):
    """Files of an SAE that is there already."""

    field: ClassVar[str] = "train.saes.from"
    """What messages call it by."""

    source: str
    """A local folder, or a Hugging Face Hub id."""
    folder: str = ""
    """The folder of the SAE within the source."""
    revision: str | None = None
    format: FormatName | None = None
    """None tells it by the names of the files."""
    normalise: Literal["none", "mean_norm", "layer_norm", "constant_norm"] | None = None
    """What training did to activations, where the files say it wrongly: nothing; one factor for all, to a mean norm of
    sqrt(width); each token less its mean, by its standard deviation; each token to the norm sqrt(width)."""
    input_scale: Annotated[float, Field(gt=0)] | None = None
    """The one factor by which training scaled activations, where the files do not name it; None measures it on this
    corpus, as sqrt(width) by the mean norm."""


class ImportedSAE(SAESource, Placed):
    """One SAE that is shown as it is."""

    field: ClassVar[str] = "imports.saes"

    architecture: Literal["relu", "topk", "batchtopk", "jumprelu", "gated", "matryoshka"]
    num_features: Annotated[int, Field(ge=2)]
    k: Positive | None = None
    """Of topk: active features per token."""
    name: Slug | None = None
    """In addresses; None makes it of layer, architecture and number of features."""


class ImportsConfig(Section):
    """SAEs that others trained."""

    saes: tuple[ImportedSAE, ...] = ()
