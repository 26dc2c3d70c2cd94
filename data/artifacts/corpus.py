"""The tokenized corpus: every token of every document, and the sequences in which a language model reads them.

Files of the artifact (stage `tokenize`):

    documents.arrow   one row per document, see DOCUMENTS
    tokens.bin        uint32, all documents one after the other, without BOS
    sequences.npy     structured, see SEQUENCE: the pieces of at most context_length - 1 tokens that the model reads,
                      each after one BOS. A document that fits is one sequence.

A token is named by `document_id` and `position` (0 is the document's first token; BOS has no position).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.arrow import read_arrow

DOCUMENTS_FILE = "documents.arrow"
TOKENS_FILE = "tokens.bin"
SEQUENCES_FILE = "sequences.npy"

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
"""`document`: row in documents.arrow; `start`: position of the first token; `length`: tokens without BOS."""

TOKEN = np.dtype("<u4")


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

    def sequence_numbers(self, *, held_out: bool) -> npt.NDArray[np.int64]:
        """Numbers of the sequences whose documents are held out, or are not [S']."""
        return np.flatnonzero(self.held_out[self.sequences["document"]] == held_out)

    def sequence_tokens(self, number: int) -> npt.NDArray[np.uint32]:
        """The tokens of one sequence, without BOS [length]."""
        return self.stretch(*self.sequences[number].tolist())

    def stretch(self, document: int, start: int, length: int) -> npt.NDArray[np.uint32]:
        """Some tokens of a document in a row [length]: by its row, the first one's position, and how many."""
        first = int(self.offsets[document]) + start
        return self.tokens[first : first + length]

    def document_tokens(self, row: int) -> npt.NDArray[np.uint32]:
        """The tokens of one document [num_tokens]."""
        first = int(self.offsets[row])
        return self.tokens[first : first + self.documents["num_tokens"][row].as_py()]
