"""Documents, as every corpus yields them, and the position from which it resumes after a kill."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from data.artifacts.corpus import document_id
from data.errors import CorpusError
from pipeline.corpus.conversations import CONVERSATIONS, Chat, Fields, take_chat
from pipeline.corpus.pieces import cut

State = dict[str, Any]
"""A place in a source, as plain JSON."""
COUNTS = ("cut_documents", "returns", "bad_encodings")
"""Counted while a corpus is read: documents that were cut into parts; files or records in which CRLF (of text files, CR
too) was read as LF; files or lines that were not UTF-8, read with U+FFFD or left out."""


class Document(NamedTuple):
    """One document, whole."""

    document_id: int
    """Stable: depends on the source and the place in it alone."""
    source: str
    """Its origin in words."""
    text: str
    meta: str
    """The source's own metadata as JSON, "{}" without."""
    chat: Chat | None = None
    """The conversation that it is; its text is then that of the messages, one after the other."""


def describe_reading(counts: Mapping[str, int]) -> str:
    """What was done to the text while it was read, for people; "" where nothing was."""
    said = {
        "cut_documents": "{:,} long documents were cut into parts (corpus.max_document_characters)",
        "returns": "line ends of {:,} files or records were CR or CRLF, read as LF",
        "bad_encodings": "{:,} files or lines were not UTF-8 (corpus.bad_encoding)",
    }
    return "; ".join(text.format(counts[name]) for name, text in said.items() if counts[name])


class Source(ABC):
    """A corpus, read once from start to end."""

    name: str
    """As a person would say it."""
    streamed: bool = False
    """Whether it comes over the network as it is read: then it is read once, and its length is not known."""
    passed_over: str = ""
    """The files of its folder that are none of it, for people."""

    def __init__(self, max_document_characters: int) -> None:
        self.longest = max_document_characters
        self.counts = dict.fromkeys(COUNTS, 0)
        """What was done to the text that was read so far, see COUNTS."""
        self._state: State = {}

    def documents(self, state: State | None = None) -> Iterator[Document]:
        """All documents in a fixed order, or those after the place `state`: long ones in parts, every line of them
        ended by LF. Raises CorpusError."""
        place, done = (state["place"], state["parts"]) if state else (None, 0)
        self.counts = dict(state["counts"]) if state else dict.fromkeys(COUNTS, 0)
        self._state = {"place": place, "parts": done, "counts": dict(self.counts)}
        for record in self.records(place):
            after = self.place()
            parts = self._parts_of(record, first=done == 0)
            for number, part in enumerate(parts[done:], done + 1):
                self.counts["cut_documents"] += number == 2
                whole = number == len(parts)
                self._state = {
                    "place": after if whole else place,
                    "parts": 0 if whole else number,
                    "counts": dict(self.counts),
                }
                yield part
            place, done = after, 0

    def state(self) -> State:
        """The place after the document that was yielded last, for `documents` of a later process."""
        return self._state

    @abstractmethod
    def records(self, place: State | None) -> Iterator[Document]:
        """All records in a fixed order, or those after a place; `counts` go on with what is done to them."""

    @abstractmethod
    def place(self) -> State:
        """The place after the record that was yielded last."""

    def _parts_of(self, record: Document, *, first: bool) -> list[Document]:
        """The documents that a record makes. first: whether it was not counted before."""
        if record.chat is not None:
            return [record]
        text = record.text.replace("\r\n", "\n")
        self.counts["returns"] += first and len(text) < len(record.text)
        pieces = list(cut([text], self.longest))
        record = record._replace(text=text)
        return [record] if len(pieces) == 1 else [part_of(record, piece.part, piece.text) for piece in pieces]


def part_of(document: Document, number: int, text: str) -> Document:
    """A part of a long document, from 1, as a document of its own."""
    meta = json.dumps({"part": number, **json.loads(document.meta)}, ensure_ascii=False)
    own = document_id("part", f"{document.document_id}/{number}")
    return Document(own, f"{document.source}, part {number}", text, _without_surrogates(meta))


def make_document(kind: str, locator: str, source: str, text: str, meta: Mapping[str, Any] | None = None) -> Document:
    """A document whose id follows from `kind` and `locator`."""
    encoded = json.dumps(meta, ensure_ascii=False, default=str) if meta else "{}"
    return Document(document_id(kind, locator), source, text, _without_surrogates(encoded))


def make_record(kind: str, locator: str, where: str, record: Mapping[str, Any], fields: Fields) -> Document:
    """The document of a record with fields: text, or a conversation. Raises CorpusError when it is neither."""
    if not fields.has_chats:
        return make_document(kind, locator, where, *take_text(record, fields.names[0], where))
    chat, meta = take_chat(record, fields, where)
    text = "\n\n".join(message.text for message in chat.messages)
    return make_document(kind, locator, where, text, meta)._replace(chat=chat)


def take_text(record: Mapping[str, Any], field: str, where: str) -> tuple[str, dict[str, Any]]:
    """The text of a record and its other fields as metadata; The Pile's own `meta` field is taken as it is.

    A null text is an empty one. Raises CorpusError, with the fields that there are, when the field is missing.
    """
    if field not in record:
        if chat := next((name for name in CONVERSATIONS if isinstance(record.get(name), list)), None):
            raise CorpusError(
                f"{where} is a conversation ('{chat}'): set corpus.turns=all (or assistant, or user: whose tokens "
                "count) to read it by the model's chat template, or corpus.text_field to the field with plain text"
            )
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
