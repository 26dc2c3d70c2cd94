"""What is published of a run is read from the artifacts of its stages."""

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from data.arrow import read_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import STATISTICS_FILE, FeatureKinds, read_kinds
from data.artifacts.labels import read_labels


@dataclass(frozen=True)
class RunArtifacts:
    """The artifacts of a run, and what else its tables need."""

    folders: dict[str, Path]
    """The artifact of every stage."""
    saes: tuple[str, ...]
    """Names in the order of the recipe."""
    vocabulary: list[bytes]
    """The bytes of every token by id."""
    rare_tokens: int
    """A rare feature is active on fewer tokens than this."""

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # another process reads files anew

    @cached_property
    def corpus(self) -> TokenizedCorpus:
        return TokenizedCorpus(self.folders["tokenize"])

    @cached_property
    def kinds(self) -> dict[str, FeatureKinds]:
        """The live, rare, negligible and dead features of every SAE."""
        return {name: read_kinds(self.read("examples", name, STATISTICS_FILE), self.rare_tokens) for name in self.saes}

    def labels(self, sae: str) -> pa.Table:
        return read_labels(self.folders["explain"], self.folders["score"], sae)

    def read(self, stage: str, sae: str, file: str) -> pa.Table:
        return read_arrow(self.folders[stage] / sae / file)
