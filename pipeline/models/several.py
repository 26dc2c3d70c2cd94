"""Several hooks of one model, read in one forward pass up to the deepest.

Shapes: B sequences, L tokens, D width.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from pipeline.models.fused import FusedLayers
from pipeline.models.hooks import Cut, Hook
from pipeline.models.language_model import LanguageModel
from pipeline.models.modules import input_of, output_of

Seen = Callable[[], Tensor]
"""The activations at a hook when it was last run."""


class SeveralHooks:
    """Hooks of a model that is cut at the deepest of them, read to the bit as a model cut at each would read it."""

    def __init__(self, model: LanguageModel, hooks: Sequence[tuple[int, Hook]]) -> None:
        """hooks: each with its layer. Raises ModelError when the model has not all of them."""
        self._model = model
        self._cuts = [(layer, Cut(model.parts, layer, hook)) for layer, hook in hooks]
        assert max(cut.num_layers for _, cut in self._cuts) == model.cut.num_layers, "it is cut at the deepest"

    @torch.no_grad()
    def read(self, tokens_BL: Tensor) -> list[Tensor]:
        """The activations at every hook, [B, L, D] each in the model's dtype, by one forward pass."""
        if len(self._cuts) == 1:
            return [self._model.residuals(tokens_BL)]
        tokens_BL = tokens_BL.to(self._model.device)
        fused = self._model.fused_layers
        return self._by_hooks(tokens_BL) if fused is None else self._by_fused(fused, tokens_BL)

    def _by_fused(self, fused: FusedLayers, tokens_BL: Tensor) -> list[Tensor]:
        streams = {cut.num_layers for _, cut in self._cuts if cut.is_stream}
        within = {layer for layer, cut in self._cuts if not cut.is_stream}
        seen, layers = fused.watched(tokens_BL, streams, within)
        return [
            seen[cut.num_layers] if cut.is_stream else cut.at_hook(layers[layer]).x_BLD for layer, cut in self._cuts
        ]

    def _by_hooks(self, tokens_BL: Tensor) -> list[Tensor]:
        with ExitStack() as stack:
            seen = [self._watch(stack, layer, cut) for layer, cut in self._cuts]
            self._model.cut.until(input_ids=tokens_BL)
            return [one() for one in seen]

    def _watch(self, stack: ExitStack, layer: int, cut: Cut) -> Seen:
        layers = self._model.layers
        if not cut.is_stream:
            return stack.enter_context(cut.watched(layers[layer]))
        if cut.num_layers:
            return _watch_output(stack, layers[cut.num_layers - 1])
        return _watch_input(stack, layers[0])


def _watch_output(stack: ExitStack, layer: nn.Module) -> Seen:
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, args, output: seen.append(output_of(output)))
    stack.callback(handle.remove)
    return seen.pop


def _watch_input(stack: ExitStack, layer: nn.Module) -> Seen:
    seen: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        seen.append(input_of(args, kwargs))

    stack.callback(layer.register_forward_pre_hook(keep, with_kwargs=True).remove)
    return seen.pop
