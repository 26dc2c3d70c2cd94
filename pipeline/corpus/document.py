"""Documents, as every corpus yields them, and the position from which it resumes after a kill."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from data.artifacts.corpus import document_id
from data.errors import CorpusError

State = dict[str, Any]
"""A place in a source, as plain JSON."""


class Document(NamedTuple):
    """One document, whole."""

    document_id: int
    """Stable: depends on the source and the place in it alone."""
    source: str
    """Its origin in words."""
    text: str
    meta: str
    """The source's own metadata as JSON, "{}" without."""


class Source(ABC):
    """A corpus, read once from start to end."""

    name: str
    """As a person would say it."""
    streamed: bool = False
    """Whether it comes over the network as it is read: then it is read once, and its length is not known."""

    @abstractmethod
    def documents(self, state: State | None = None) -> Iterator[Document]:
        """All documents in a fixed order, or those after the place `state`. Raises CorpusError."""

    @abstractmethod
    def state(self) -> State:
        """The place after the document that was yielded last, for `documents` of a later process."""


def make_document(kind: str, locator: str, source: str, text: str, meta: Mapping[str, Any] | None = None) -> Document:
    """A document whose id follows from `kind` and `locator`."""
    encoded = json.dumps(meta, ensure_ascii=False, default=str) if meta else "{}"
    return Document(document_id(kind, locator), source, text, _without_surrogates(encoded))


def take_text(record: Mapping[str, Any], field: str, where: str) -> tuple[str, dict[str, Any]]:
    """The text of a record and its other fields as metadata; The Pile's own `meta` field is taken as it is.

    A null text is an empty one. Raises CorpusError, with the fields that there are, when the field is missing.
    """
    if field not in record:
        fields = ", ".join(f"'{name}'" for name in record) or "no field"
        raise CorpusError(f"{where} has no field '{field}', only {fields}: set corpus.text_field to the one with text")
    text = record[field]
    if text is None:
        text = ""
    if not isinstance(text, str):
        kind = type(text).__name__
        raise CorpusError(
            f"{where}: field '{field}' holds {kind}, not text: set corpus.text_field to the one with text"
        )
    others = {name: value for name, value in record.items() if name != field}
    if set(others) == {"meta"} and isinstance(others["meta"], dict):
        others = others["meta"]
    return text, others


def _without_surrogates(text: str) -> str:
    """JSON may name half a character, which no UTF-8 text can hold."""
    return text.encode("utf-8", "replace").decode()
