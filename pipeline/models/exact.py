"""The model in float32 arithmetic and with gradients, from the weights that are in memory anyway.

In bfloat16 a logit near 20 is known to 1/8, which is more than most features move it; and layers with packed weights
cannot be differentiated. Here the layers run by transformers' own code, each with its weights widened to float32 while
it runs and forgotten after, in the backward pass too, where it is run again: beside the model, one layer in float32 and
one residual stream per layer are the most that lies in memory.

Shapes: B rows, L positions, D width, V vocabulary, N positions, T chosen tokens.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from pipeline.models.errors import ModelError
from pipeline.models.language_model import LanguageModel, after_layer, cap_logits, until_layer

VOCABULARY_TILE = 16_384
"""Rows of the unembedding that are widened at once."""


class ExactModel:
    """The layers up to N and those after it; every result is float32 (float64 for a model in float64)."""

    def __init__(self, language_model: LanguageModel) -> None:
        """Raises ModelError when the model was loaded up to layer N only."""
        model, self.layer = language_model.model, language_model.layer
        if model.lm_head is None:
            raise ModelError(f"the model was loaded up to layer {self.layer} only: load it whole for its logits")
        self._model: Any = model
        self.vocab_size: int = len(model.lm_head.weight)
        self.device, self.dtype = language_model.device, _wide(language_model.dtype)
        self._until = until_layer(model.model, self.layer)
        self._until.layers = _widened(self._until.layers, 0)
        self._after = after_layer(model, self.layer).model
        self._after.layers = _widened(self._after.layers, self.layer + 1)
        self._after.norm = _Wide(self._after.norm)

    @torch.no_grad()
    def embed(self, tokens_BL: Tensor) -> Tensor:
        """The embeddings of tokens [B, L, D]."""
        return cast(Tensor, self._model.model.embed_tokens(tokens_BL.to(self.device))).to(self.dtype)

    def residuals_from(self, embedding_BLD: Tensor) -> Tensor:
        """The residual stream after layer N, of given embeddings [B, L, D]."""
        return self._run(self._until, embedding_BLD)

    def hidden_from(self, x_BLD: Tensor) -> Tensor:
        """Input of the head [B, L, D] from a residual stream after layer N; the layers up to N are not run."""
        return self._run(self._after, x_BLD)

    def logits(self, hidden_ND: Tensor, tokens: Sequence[int]) -> Tensor:
        """Logits [N, T] of chosen tokens, of what `hidden_from` gives."""
        return cap_logits(self._model, self._product(hidden_ND, torch.tensor(tokens, device=self.device)))

    @torch.no_grad()
    def log_probabilities(self, hidden_ND: Tensor) -> Tensor:
        """Of every next token [N, V], at temperature 1: N times V numbers, so for a few positions at once."""
        tiles = [slice(start, start + VOCABULARY_TILE) for start in range(0, self.vocab_size, VOCABULARY_TILE)]
        logits_NV = torch.cat([self._product(hidden_ND, tile) for tile in tiles], dim=1)
        return cap_logits(self._model, logits_NV).log_softmax(dim=1)

    def _run(self, part: Any, x_BLD: Tensor) -> Tensor:
        x_BLD = x_BLD.to(self.device, self.dtype)
        return cast(Tensor, part(inputs_embeds=x_BLD, use_cache=False).last_hidden_state)

    def _product(self, hidden_ND: Tensor, chosen: Tensor | slice) -> Tensor:
        head = self._model.lm_head
        bias = None if head.bias is None else head.bias[chosen].to(self.dtype)
        return F.linear(hidden_ND, head.weight[chosen].to(self.dtype), bias)


class _Wide(nn.Module):
    """A part of the model in float32."""

    def __init__(self, narrow: nn.Module) -> None:
        super().__init__()
        self.narrow = narrow

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._run(*args, **kwargs)
        # Run again in the backward pass, so that neither widened weights nor what is within the layer are kept.
        return checkpoint(self._run, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        tensors = [*self.narrow.named_parameters(), *self.narrow.named_buffers()]
        wide = {name: tensor.to(_wide(tensor.dtype)) for name, tensor in tensors if tensor.is_floating_point()}
        return functional_call(self.narrow, wide, args, kwargs)


def _widened(layers: nn.ModuleList, first: int) -> nn.ModuleList:
    """The layers from `first` on, widened; those before it stay."""
    return nn.ModuleList([_Wide(layer) if number >= first else layer for number, layer in enumerate(layers)])


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
