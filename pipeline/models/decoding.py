"""The decoder that fits a model: our own layers for Llama, transformers' own for every other."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from pipeline.models.decoder import Decoder, Edit, llama_obstacle
from pipeline.models.language_model import LanguageModel
from pipeline.models.plain_decoder import PlainDecoder


class AnyDecoder(Protocol):
    """A model that writes, see `Decoder`."""

    context_length: int
    stop_ids: frozenset[int]

    def cache(self, places: int) -> Any: ...

    def read(
        self, tokens: Sequence[Sequence[int]], caches: Sequence[Any], edit: Edit, *, head: bool = True
    ) -> Tensor | None: ...


def make_decoder(language_model: LanguageModel) -> AnyDecoder:
    """The decoder of a model. Raises ModelError when it cannot be written with."""
    return PlainDecoder(language_model) if llama_obstacle(language_model.model) else Decoder(language_model)


def move_decoder(decoder: AnyDecoder, language_model: LanguageModel) -> AnyDecoder:
    """The decoder of the same model, cut at another hook."""
    return decoder.at(language_model) if isinstance(decoder, Decoder) else PlainDecoder(language_model)
