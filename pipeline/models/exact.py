"""The model in float32 arithmetic and with gradients, from the weights that are in memory anyway.

In bfloat16 a logit near 20 is known to 1/8, which is more than most features move it; and layers with packed weights
cannot be differentiated. Here the layers run by transformers' own code, each with its weights widened to float32 while
it runs and forgotten after, in the backward pass too, where it is run again: beside the model, one layer in float32 and
one residual stream per layer are the most that lies in memory.

Shapes: B rows, L positions, D width, V vocabulary, N positions, T chosen tokens.
"""

import copy
from collections.abc import Sequence
from typing import Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.models.errors import ModelError
from pipeline.models.hooks import Cut, Later
from pipeline.models.language_model import LanguageModel, cap_logits
from pipeline.models.modules import wide_dtype

VOCABULARY_TILE = 16_384
"""Rows of the unembedding that are widened at once."""


class ExactModel:
    """The layers up to the hook and those after it; every result is float32 (float64 for a model in float64)."""

    def __init__(self, language_model: LanguageModel, beside_LD: Tensor | None = None) -> None:
        """beside_LD: what stands beside the hook in the text that is looked at, as `LanguageModel.read` gave it.

        Raises ModelError when the model was loaded up to layer N only.
        """
        parts, self.layer = language_model.parts, language_model.layer
        if parts.head is None:
            raise ModelError(f"the model was loaded up to layer {self.layer} only: load it whole for its logits")
        self._parts = parts
        self.vocab_size: int = len(parts.head.weight)
        self.device, self.dtype = language_model.device, wide_dtype(language_model.dtype)
        self._cut = Cut(parts, self.layer, language_model.hook, wide=True)
        self._later = Later(parts, self._cut.num_layers, wide=True)
        self._beside_LD = beside_LD

    def of_text(self, beside_LD: Tensor | None) -> Self:
        """The same model for another text."""
        other = copy.copy(self)
        other._beside_LD = beside_LD
        return other

    @torch.no_grad()
    def embed(self, tokens_BL: Tensor) -> Tensor:
        """The embeddings of tokens [B, L, D]."""
        return cast(Tensor, self._parts.embedding(tokens_BL.to(self.device))).to(self.dtype)

    def residuals_from(self, embedding_BLD: Tensor) -> Tensor:
        """The activations at the hook, of given embeddings [B, L, D]."""
        return self._cut.until(inputs_embeds=embedding_BLD.to(self.device, self.dtype)).x_BLD

    def hidden_from(self, x_BLD: Tensor) -> Tensor:
        """Input of the head [B, L, D] when the hook has `x_BLD` on the text's first tokens; earlier layers are not
        run."""
        return self._later(self._cut.lift(x_BLD.to(self.device, self.dtype), self._beside(x_BLD.shape[1])))

    def _beside(self, length: int) -> Tensor | None:
        if self._cut.needs_beside and self._beside_LD is None:
            raise ModelError("this hook needs what stands beside it in the text")
        return None if self._beside_LD is None else self._beside_LD[:length].to(self.device, self.dtype)

    def logits(self, hidden_ND: Tensor, tokens: Sequence[int]) -> Tensor:
        """Logits [N, T] of chosen tokens, of what `hidden_from` gives."""
        return cap_logits(self._parts.model, self._product(hidden_ND, torch.tensor(tokens, device=self.device)))

    @torch.no_grad()
    def log_probabilities(self, hidden_ND: Tensor) -> Tensor:
        """Of every next token [N, V], at temperature 1: N times V numbers, so for a few positions at once."""
        tiles = [slice(start, start + VOCABULARY_TILE) for start in range(0, self.vocab_size, VOCABULARY_TILE)]
        logits_NV = torch.cat([self._product(hidden_ND, tile) for tile in tiles], dim=1)
        return cap_logits(self._parts.model, logits_NV).log_softmax(dim=1)

    def _product(self, hidden_ND: Tensor, chosen: Tensor | slice) -> Tensor:
        head = self._parts.head
        bias = None if head.bias is None else head.bias[chosen].to(self.dtype)
        return F.linear(hidden_ND, head.weight[chosen].to(self.dtype), bias)
