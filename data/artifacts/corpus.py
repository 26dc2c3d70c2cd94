"""The tokenized corpus: every token of every document, and the sequences in which a language model reads them.

Files of the artifact (stage `tokenize`):

    documents.arrow   one row per document, see DOCUMENTS
    tokens.bin        uint32, all documents one after the other, without BOS
    sequences.npy     structured, see SEQUENCE: the pieces of at most context_length - 1 tokens that the model reads,
                      each after one opening token (see Cutting). A document that fits is one sequence.
    roles.bin         of conversations alone: uint8 for each token of tokens.bin, its place in ROLES, with COUNTED added
                      where it counts. Of other corpora, every token does

A token is named by `document_id` and `position` (0 is the document's first token; BOS has no position).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.arrow import read_arrow

DOCUMENTS_FILE = "documents.arrow"
TOKENS_FILE = "tokens.bin"
SEQUENCES_FILE = "sequences.npy"
ROLES_FILE = "roles.bin"

DOCUMENTS = pa.schema(
    [
        pa.field("document_id", pa.int64(), nullable=False),  # stable: depends on the source and locator alone
        pa.field("source", pa.string(), nullable=False),  # its origin in words
        pa.field("meta", pa.string(), nullable=False),  # the source's own metadata as JSON, "{}" without
        pa.field("held_out", pa.bool_(), nullable=False),  # for metrics only: never trained on, never an example
        pa.field("offset", pa.int64(), nullable=False),  # of its first token in tokens.bin
        pa.field("num_tokens", pa.int32(), nullable=False),
    ]
)

SEQUENCE = np.dtype([("document", "<i4"), ("start", "<i4"), ("length", "<i4")])
"""`document`: row in documents.arrow; `start`: position of the first token; `length`: tokens, the opening one not
counted."""

TOKEN = np.dtype("<u4")

ROLES = ("template", "system", "user", "assistant", "developer", "tool")
"""Whose a token of a conversation is; "template": what the chat template says around the messages."""
COUNTED = 0x80
"""Added to the role of tokens that train SAEs, give examples and are measured; others are read and shown only."""
Mask = npt.NDArray[np.bool_]


class Cutting(NamedTuple):
    """How documents are cut into the sequences that a model reads, each after one opening token.

    That is BOS, where the model has one. Where it has none, it is the token before the sequence: the document's first
    token then opens its first sequence, is read as such, and is in none.
    """

    longest: int
    """Tokens of a sequence at most, without the opening one."""
    bos_id: int | None

    @classmethod
    def of(cls, counts: Mapping[str, Any]) -> Self:
        """That of a tokenized corpus, by the counts of `tokenize`."""
        return cls(counts["context_length"] - 1, counts["bos_id"])

    @property
    def first(self) -> int:
        """Position of a document's first token that is in a sequence."""
        return 0 if self.bos_id is not None else 1

    def start(self, position: Any) -> Any:
        """Position of the first token of the sequence that holds a token at `position`, both at least `first`."""
        return position - (position - self.first) % self.longest

    def pieces(self, num_tokens: int, start: int = 0) -> list[tuple[int, int]]:
        """Start and length of each sequence of a document from the one that holds `start` on."""
        begin = self.start(max(start, self.first))
        return [(at, min(self.longest, num_tokens - at)) for at in range(begin, num_tokens, self.longest)]

    def opened(self, tokens: Sequence[int]) -> list[int]:
        """What the model reads of a sequence. tokens: those of the document from `start - first` on."""
        return list(tokens) if self.bos_id is None else [self.bos_id, *tokens]


def describe_limits(counts: Mapping[str, Any]) -> str:
    """What limits left of the corpus, from the counts of `tokenize`, for people; "" where nothing was left out."""
    if not (limits := counts.get("limits")):
        return ""
    documents = counts["num_documents"] + counts["num_held_out_documents"]
    tokens = counts["num_tokens"] + counts["num_held_out_tokens"]
    named = f"limit {' and '.join(f'tokenize.{name}' for name in limits)}"
    kind = "documents, parts of long ones among them" if counts.get("num_cut_documents") else "documents"
    if counts["num_corpus_documents"] is None:
        return (
            f"read the first {documents:,} {kind}, {tokens:,} tokens ({named}); the corpus is streamed, so how long "
            "it is, and with that a random sample of it, is not known"
        )
    whole = f"{counts['num_corpus_documents']:,}"
    return (
        f"read {documents:,} of {whole} {kind}, drawn at random, {tokens:,} of about "
        f"{_about(counts['num_corpus_tokens'])} tokens ({named})"
    )


def _about(number: int) -> str:
    """Two or three digits of a large number: 2.1 million, 43,000."""
    for size, word in ((1_000_000_000, "billion"), (1_000_000, "million")):
        if number >= size:
            return f"{number / size:.1f} {word}"
    digits = max(0, len(str(number)) - 2)
    return f"{round(number, -digits):,}"


def document_id(source: str, locator: str) -> int:
    """A stable 63-bit id from what names the document in its source (a path and line, a title, a row number)."""
    raw = hashlib.blake2b(f"{source}\0{locator}".encode(), digest_size=8).digest()
    return int.from_bytes(raw, "little") >> 1


def is_held_out(document: int, fraction: float) -> bool:
    """Whether a document is kept for metrics: by its id alone, so that every run agrees."""
    mixed = hashlib.blake2b(document.to_bytes(8, "little"), digest_size=8, key=b"held out").digest()
    return int.from_bytes(mixed, "little") < fraction * 2.0**64


def format_document_id(document: int) -> str:
    """16 hexadecimal digits: what JSON and addresses carry, since 63 bits do not fit a JavaScript number."""
    return f"{document:016x}"


@dataclass(frozen=True)
class TokenizedCorpus:
    """A tokenized corpus, memory-mapped: opening costs nothing and reading touches what is read."""

    folder: Path

    def __getstate__(self) -> dict[str, Path]:
        return {"folder": self.folder}  # another process maps the files anew

    @cached_property
    def documents(self) -> pa.Table:
        """One row per document, see DOCUMENTS."""
        return read_arrow(self.folder / DOCUMENTS_FILE)

    @cached_property
    def tokens(self) -> npt.NDArray[np.uint32]:
        """All tokens [total]."""
        return np.memmap(self.folder / TOKENS_FILE, dtype=TOKEN, mode="r")

    @cached_property
    def sequences(self) -> np.ndarray:
        """All sequences [S] of SEQUENCE, in corpus order."""
        return cast(np.ndarray, np.load(self.folder / SEQUENCES_FILE, mmap_mode="r"))

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Of each document's first token in `tokens` [D]."""
        return cast(npt.NDArray[np.int64], self.documents["offset"].to_numpy())

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each document [D]."""
        return cast(npt.NDArray[np.int64], self.documents["num_tokens"].to_numpy().astype(np.int64))

    @cached_property
    def document_ids(self) -> npt.NDArray[np.int64]:
        """The stable id of each document [D]."""
        return cast(npt.NDArray[np.int64], self.documents["document_id"].to_numpy())

    @cached_property
    def held_out(self) -> npt.NDArray[np.bool_]:
        """Whether each document is for metrics only [D]."""
        return cast(npt.NDArray[np.bool_], self.documents["held_out"].to_numpy(zero_copy_only=False))

    @cached_property
    def roles(self) -> npt.NDArray[np.uint8] | None:
        """Of every token [total], see ROLES and COUNTED; None where the corpus holds no conversations."""
        file = self.folder / ROLES_FILE
        return np.memmap(file, dtype=np.uint8, mode="r") if file.exists() else None

    def sequence_numbers(self, *, held_out: bool) -> npt.NDArray[np.int64]:
        """Numbers of the sequences with a token that counts, whose documents are held out, or are not [S']."""
        return np.flatnonzero((self.held_out[self.sequences["document"]] == held_out) & self._has_counted_S)

    @cached_property
    def _has_counted_S(self) -> Mask:
        """Whether each sequence has a token that counts [S]."""
        if self.roles is None or not len(self.sequences):
            return np.ones(len(self.sequences), bool)
        first_S = self.offsets[self.sequences["document"]] + self.sequences["start"]
        bounds = np.stack([first_S, first_S + self.sequences["length"]], 1).reshape(-1)
        counted = np.append(self.roles >= COUNTED, False)  # so that the end of the last one is a place
        return cast(Mask, np.logical_or.reduceat(counted, bounds)[::2])

    def counted(self, sequence: tuple[int, int, int]) -> Mask:
        """Which tokens of a stretch of SEQUENCE count [length]."""
        document, start, length = sequence
        if self.roles is None:
            return np.ones(length, bool)
        first = int(self.offsets[document]) + start
        return self.roles[first : first + length] >= COUNTED

    def sequence_tokens(self, number: int) -> npt.NDArray[np.uint32]:
        """The tokens of one sequence, without the opening one [length]."""
        return self.stretch(*self.sequences[number].tolist())

    def opened(self, sequence: tuple[int, int, int], bos_id: int | None) -> npt.NDArray[np.int64]:
        """What the model reads of a stretch of SEQUENCE: its opening token, then its tokens [1 + length]."""
        document, start, length = sequence
        if bos_id is None:
            return self.stretch(document, start - 1, length + 1).astype(np.int64)
        return np.concatenate([np.array([bos_id]), self.stretch(document, start, length)])

    def stretch(self, document: int, start: int, length: int) -> npt.NDArray[np.uint32]:
        """Some tokens of a document in a row [length]: by its row, the first one's position, and how many."""
        first = int(self.offsets[document]) + start
        return self.tokens[first : first + length]

    def document_tokens(self, row: int) -> npt.NDArray[np.uint32]:
        """The tokens of one document [num_tokens]."""
        first = int(self.offsets[row])
        return self.tokens[first : first + self.documents["num_tokens"][row].as_py()]
