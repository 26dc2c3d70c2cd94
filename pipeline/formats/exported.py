"""An SAE of ours on its way out: what every writer is given, and the weights as other libraries hold them."""

from typing import NamedTuple

import torch
from torch import Tensor

from data.errors import FormatError
from data.hooks import RESID_POST, Hook
from pipeline.models.sae import SAE

LOG_OFFSET = 1e-10
"""Added to densities before their logarithm is taken, as SAELens does."""


class Exported(NamedTuple):
    """A published SAE, and what a configuration or a model card says of it."""

    sae: SAE
    model: str
    """Hub id of the language model, or what it is called."""
    corpus: str
    context_length: int
    prepend_bos: bool
    density_F: Tensor
    """Share of the tokens on which each feature is active."""
    facts: dict[str, str]
    """Lines of the model card."""
    hook: Hook = RESID_POST
    """The place at its layer that it reads."""

    def require_plain(self, library: str) -> None:
        """Raise FormatError where the SAE normalises each token by itself, which the library cannot say."""
        if (kind := self.sae.header.normalisation) != "none":
            raise FormatError(
                f"{self.sae.header.name} normalises each token by itself ({kind}), which {library} cannot hold: use "
                "saelens"
            )

    @property
    def log_density_F(self) -> Tensor:
        """log10 of the densities, as SAELens keeps them."""
        return (self.density_F + LOG_OFFSET).log10().float()


class Loose(NamedTuple):
    """Weights whose TopK chooses by the very values that it gives: directions may have any norm."""

    W_enc_FD: Tensor
    b_enc_F: Tensor
    W_dec_FD: Tensor


def loosen(sae: SAE) -> Loose:
    """Encoder and decoder of an SAE, where TopK chooses by other values with those values' own lengths."""
    if sae.selection_F is None:
        return Loose(sae.W_enc_FD, sae.b_enc_F, sae.W_dec_FD)
    factor_F = torch.where(sae.selection_F > 0, sae.selection_F, 1.0)
    return Loose(sae.W_enc_FD * factor_F[:, None], sae.b_enc_F * factor_F, sae.W_dec_FD / factor_F[:, None])
