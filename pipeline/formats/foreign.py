"""A foreign SAE as its files say it, before its weights are read."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from data.errors import FormatError
from data.hooks import RESID_POST, Hook
from pipeline.formats.weights import Weights
from pipeline.models.sae import SAE, Nonlinearity, SAEHeader
from pipeline.models.standardise import Normalisation

NONLINEARITY: dict[str, Nonlinearity] = {
    "relu": "relu", "jumprelu": "jumprelu", "gated": "jumprelu", "batchtopk": "jumprelu", "matryoshka": "jumprelu",
    "topk": "topk",
}  # fmt: skip
"""How each architecture is used here. A gate is a threshold of the value that it lets through."""


class Provenance(NamedTuple):
    """What a configuration says of how the SAE was made; None where it does not."""

    model: str | None = None
    hook: str | None = None
    context_length: int | None = None
    prepend_bos: bool | None = None
    corpus: str | None = None


@dataclass(frozen=True)
class Foreign:
    """An SAE of another library."""

    format: str
    architecture: str
    """A key of NONLINEARITY."""
    num_features: int
    width: int
    read: Callable[[], Weights]
    """Reads and folds the weights, float32 on the CPU. Raises FormatError."""
    k: int | None = None
    normalisation: Normalisation = "none"
    """Of each token by itself, which no weights can stand for."""
    needs_scale: bool = False
    """Whether it reads activations that were scaled to a mean norm of sqrt(width), by a factor that its files lack."""
    provenance: Provenance = field(default_factory=Provenance)

    def normalised(self, kind: str | None) -> "Foreign":
        """The same with another normalisation of what it reads than its files say; None leaves it."""
        if kind is None:
            return self
        of_tokens: dict[str, Normalisation] = {"layer_norm": "layer_norm", "constant_norm": "constant_norm"}
        return replace(self, normalisation=of_tokens.get(kind, "none"), needs_scale=kind == "mean_norm")

    def fold(
        self, *, name: str, model: str, layer: int, hook: Hook = RESID_POST, activation_scale: float,
        input_scale: float | None,
    ) -> SAE:  # fmt: skip
        """The SAE as one of ours.

        activation_scale: see SAEHeader. input_scale: the factor that the files lack, where they do. Raises FormatError.
        """
        weights = self.read()
        if self.needs_scale:
            assert input_scale is not None, "measured where it is needed"
            weights.scale_input(input_scale)
            weights.normalise_decoder(choose_by_raw=True)
        header = SAEHeader(
            name, self.architecture, NONLINEARITY[self.architecture], self.num_features, self.width, model, layer,
            hook=hook, k=self.k, activation_scale=activation_scale, normalisation=self.normalisation,
        )  # fmt: skip
        tensors = (weights.W_enc_FD, weights.b_enc_F, weights.W_dec_FD, weights.b_dec_D, weights.threshold_F)
        if not all(bool(tensor.isfinite().all()) for tensor in tensors):
            raise FormatError(f"weights of {name} are not finite: fetch or save the SAE again")
        return SAE(header, *tensors, selection_F=weights.selection_F)
