"""Any model of transformers that writes one token at a time, by its own layers, changed at a hook (hooks.py).

Each row is read by itself, with keys and values of its own: so what a row is given does not depend on its company, to
the bit. Reading rows together would be faster; the layers of decoder.py, for Llama, do so.

Shapes: B rows, L tokens of one row, D width, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache

from pipeline.models.additions import tapped
from pipeline.models.decoder import Edit, decoding_obstacle
from pipeline.models.decoder_parts import check_room, stop_ids
from pipeline.models.errors import ModelError
from pipeline.models.language_model import LanguageModel
from pipeline.models.modules import input_of, output_of


class PlainCache:
    """Keys and values of one row."""

    def __init__(self, config: Any) -> None:
        self.kept = DynamicCache(config=config)
        self.length = 0
        """Tokens in place."""


class PlainDecoder:
    """The whole model of a `LanguageModel`, for writing."""

    def __init__(self, language_model: LanguageModel) -> None:
        """Raises ModelError when the model cannot be written with."""
        if reason := decoding_obstacle(language_model.model):
            raise ModelError(reason)
        self._language_model, self._parts, self._cut = language_model, language_model.parts, language_model.cut
        self.context_length = language_model.context_length
        self.stop_ids = stop_ids(language_model.model)

    def cache(self, places: int) -> PlainCache:
        """An empty cache of one row. Raises ModelError when the row would outgrow what the model can read."""
        check_room(places, self.context_length)
        return PlainCache(self._parts.core.config)

    @torch.no_grad()
    def read(
        self, tokens: Sequence[Sequence[int]], caches: Sequence[PlainCache], edit: Edit, *, head: bool = True
    ) -> Tensor | None:
        """Read the next tokens of every row; logits [B, V], float32, of what follows each row's last.

        With head=False nothing comes back: for `edit` to see the last tokens.
        """
        last = [self._read_row(row, tokens[row], caches[row], edit) for row in range(len(caches))]
        return torch.cat([self._language_model.head(last_1D) for last_1D in last]).float() if head else None

    def _read_row(self, row: int, tokens: Sequence[int], cache: PlainCache, edit: Edit) -> Tensor:
        """Input of the head at the last token [1, D]."""
        device = self._parts.embedding.weight.device
        positions_L = torch.arange(cache.length, cache.length + len(tokens), device=device)
        tokens_1L = torch.tensor([list(tokens)], device=device)
        with self._edited(row, positions_L, edit):
            out = self._parts.core(input_ids=tokens_1L, past_key_values=cache.kept, use_cache=True)
        cache.length += len(tokens)
        return cast(Tensor, out.last_hidden_state[0, -1:])

    @contextmanager
    def _edited(self, row: int, positions_L: Tensor, edit: Edit) -> Iterator[None]:
        """Let `edit` change the activations at the hook while the block runs."""

        def change(x_1LD: Tensor) -> Tensor:
            return edit(row, x_1LD[0], positions_L)[None]

        with self._hooked(change):
            yield

    @contextmanager
    def _hooked(self, change: Any) -> Iterator[None]:
        layers, cut = self._parts.layers, self._cut
        if cut.num_layers == 0:
            handle = layers[0].register_forward_pre_hook(_changing_input(change), with_kwargs=True)
            with _removed(handle):
                yield
        elif cut.additions is None:
            handle = layers[cut.num_layers - 1].register_forward_hook(
                lambda module, args, output: _instead(output, change(output_of(output)))
            )
            with _removed(handle):
                yield
        else:
            layer = layers[cut.num_layers - 1]
            with tapped(layer, cut.additions) as last:

                def behind(module: object, args: Any, output: Any) -> Any:
                    x_BLD, beside_BLD = cut.at_hook(last())
                    return _instead(output, cut.lift(change(x_BLD), beside_BLD))

                with _removed(layer.register_forward_hook(behind)):
                    yield


def _changing_input(change: Any) -> Any:
    def hook(module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        changed = change(input_of(args, kwargs))
        return ((changed, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": changed})

    return hook


def _instead(output: Any, changed: Tensor) -> Any:
    return (changed, *output[1:]) if isinstance(output, tuple) else changed


@contextmanager
def _removed(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()
