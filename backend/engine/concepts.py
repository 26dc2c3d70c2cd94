"""Reading of concepts on the worker's thread: which features are active on prompts that end with each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from backend.engine.models import Models, models_errors, sink_norm
from backend.exceptions import RefusedError
from backend.published.catalogue import OpenSAE
from data.concepts.lists import ConceptList
from data.concepts.matching import ways_to_write

READINGS_CACHED = 8
"""Lists whose reading is kept, so that another page of one costs nothing."""


@dataclass(frozen=True)
class ConceptsReading:
    """A list of concepts as the model read it: activations above zero on the last token of each prompt."""

    written: list[list[list[int]]]
    """The tokens of every way to write each concept."""
    prompt_K: npt.NDArray[np.int64]
    """Number of the prompt, those of a concept in a row."""
    feature_K: npt.NDArray[np.int64]
    value_K: npt.NDArray[np.float32]


class ConceptReader:
    """Reads lists of concepts. For the worker's thread alone."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._readings: LRUCache[tuple[object, ...], ConceptsReading] = LRUCache(READINGS_CACHED)

    def read(self, sae: OpenSAE, content: ConceptList) -> Iterator[ConceptsReading | None]:
        """The features of an SAE that are active on the last tokens of a list's prompts; for `Engine.steps`."""
        key = (self._models.key(sae.run), sae.folder, content.digest)
        if key not in self._readings:
            parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
            yield from self._read_prompts(sae, content, parts)
            columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
            written = self._written(sae, [one.spellings for one in content.concepts])
            self._readings[key] = ConceptsReading(written, *columns)
        yield self._readings[key]

    def _read_prompts(
        self, sae: OpenSAE, content: ConceptList, parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
    ) -> Iterator[None]:
        from pipeline.models.last_tokens import read_last_tokens

        loaded, weights = self._models.load(sae.run), self._models.sae(sae)
        prompts = [text for one in content.concepts for text in content.prompts(one)]
        opened = [loaded.tokenizer.open(text)[0] for text in prompts]
        batches = read_last_tokens(loaded.model, opened, sink_norm(sae.run))
        while batch := models_errors(lambda: next(batches, None), RefusedError):
            found = weights.encode_sparse(batch.x_BD.to(weights.device))
            token_K, feature_K, value_K = (column.cpu().numpy() for column in found)
            parts.append((np.array(batch.numbers, np.int64)[token_K], feature_K, value_K))
            yield None

    def _written(self, sae: OpenSAE, spellings: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        from pipeline.models.last_tokens import tokens_of_ways

        ways = [[way for text in some for way in ways_to_write(text)] for some in spellings]
        return tokens_of_ways(self._models.load(sae.run).tokenizer, ways)
