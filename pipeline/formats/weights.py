"""Weights of a foreign SAE on the way to ours: what its library does around them is folded in, step by step, in place.

At any step they stand for f = pre where it is active, pre = W_enc x + b_enc, and x^ = sum_i f_i d_i + b_dec.

Shapes: F features, D width of the residual stream.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

TILE = 4096
"""Features that are taken in float64 at once."""
NORMS_DIFFER = 1e-4
"""Relative spread of decoder norms above which it matters by which values TopK chooses."""


@dataclass
class Weights:
    """Encoder and decoder, float32 and contiguous. Threshold: a feature is active above it, and above 0."""

    W_enc_FD: Tensor
    b_enc_F: Tensor
    W_dec_FD: Tensor
    b_dec_D: Tensor
    threshold_F: Tensor
    selection_F: Tensor | None = None
    """TopK chooses by activation times this; None where it chooses by the activations themselves."""

    def subtract_from_input(self, shift_D: Tensor) -> None:
        """The library encodes x - shift."""
        self.b_enc_F -= self.W_enc_FD @ shift_D.float()

    def scale_input(self, factor: float) -> None:
        """The library reads factor * x and divides what it reconstructs by it."""
        self.W_enc_FD *= factor
        self.W_dec_FD /= factor
        self.b_dec_D /= factor

    def whiten_input(self, mean_D: Tensor, whiten_DD: Tensor, unwhiten_DD: Tensor) -> None:
        """The library reads z = (x - mean) @ whiten and reconstructs z^ @ unwhiten + mean."""
        mean_D, whiten_DD, unwhiten_DD = mean_D.double(), whiten_DD.double(), unwhiten_DD.double()
        for start in range(0, len(self.W_enc_FD), TILE):
            tile = slice(start, start + TILE)
            self.W_enc_FD[tile] = (self.W_enc_FD[tile].double() @ whiten_DD.T).float()
            self.b_enc_F[tile] -= (self.W_enc_FD[tile].double() @ mean_D).float()
            self.W_dec_FD[tile] = (self.W_dec_FD[tile].double() @ unwhiten_DD).float()
        self.b_dec_D.copy_((self.b_dec_D.double() @ unwhiten_DD + mean_D).float())

    def gate(self, b_gate_F: Tensor, r_mag_F: Tensor) -> None:
        """The library opens a feature where W_enc x + b_gate > 0, and its value is relu(e^r W_enc x + b_enc).

        The same as a threshold of the value: W_enc x > -b_gate where the value is above b_enc - e^r b_gate.
        """
        gain_F = r_mag_F.float().exp()
        self.W_enc_FD *= gain_F[:, None]
        self.threshold_F.copy_(self.b_enc_F - gain_F * b_gate_F.float()).clamp_(min=0)

    def scale_decoded(self, factor_F: Tensor) -> None:
        """The library multiplies activations by a factor of each feature before it decodes them."""
        self.W_dec_FD *= factor_F.float()[:, None]

    def lengthen(self) -> None:
        """The library gives activations their direction's norm before it chooses which are active."""
        norm_F = torch.linalg.vector_norm(self.W_dec_FD, dim=1)
        self.W_enc_FD *= norm_F[:, None]
        self.b_enc_F *= norm_F
        self.W_dec_FD /= torch.where(norm_F > 0, norm_F, 1.0)[:, None]

    def normalise_decoder(self, *, choose_by_raw: bool = False) -> None:
        """Give every direction norm 1 and the activations its length.

        choose_by_raw: the library's TopK chooses by activations before they are lengthened. A direction without length
        adds nothing: its feature is never active.
        """
        norm_F = torch.linalg.vector_norm(self.W_dec_FD, dim=1)
        without_F = norm_F == 0
        if (
            choose_by_raw
            and not without_F.all()
            and norm_F.max() - norm_F[~without_F].min() > NORMS_DIFFER * norm_F.max()
        ):
            self.selection_F = torch.where(without_F, 0.0, 1 / norm_F)
        self.W_enc_FD *= norm_F[:, None]
        self.b_enc_F *= norm_F
        self.threshold_F.clamp_(min=0).mul_(norm_F)
        self.W_dec_FD /= torch.where(without_F, 1.0, norm_F)[:, None]
        self.W_dec_FD[without_F, 0] = 1.0
