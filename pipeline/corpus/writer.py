"""Writes a tokenized corpus (data/artifacts/corpus.py) piece by piece, so that a killed process resumes to the byte.

Beside the artifact's files it keeps, hidden until `finish`:

    .checkpoint.json         how far everything had come
    .documents-00000.arrow   rows of documents.arrow, those of one checkpoint in each file

Memory is that of the documents since the last checkpoint, and 8 bytes or so for the id of each document before.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.arrow import read_arrow, write_arrow
from data.artifacts.corpus import (
    DOCUMENTS,
    DOCUMENTS_FILE,
    ROLES_FILE,
    SEQUENCE,
    SEQUENCES_FILE,
    TOKEN,
    TOKENS_FILE,
    Cutting,
)
from pipeline.corpus.document import Document

CORPUS_CHECKPOINT = ".checkpoint.json"
CORPUS_BATCH_ROWS = 1 << 16


class CorpusWriter:
    """Appends documents. One made in a folder with a checkpoint resumes from there.

    has_roles: whether documents are conversations, whose tokens have roles.
    """

    def __init__(self, folder: Path, *, has_roles: bool = False) -> None:
        self.folder = folder
        file = folder / CORPUS_CHECKPOINT
        saved: dict[str, Any] = {"num_tokens": 0, "parts": 0, "state": None}
        if file.exists():
            saved = json.loads(file.read_text())
        self.state: dict[str, Any] | None = saved["state"]
        """State that the last `checkpoint` was given; None before the first."""
        self.num_tokens: int = saved["num_tokens"]
        self._parts: int = saved["parts"]
        self._rows: list[dict[str, Any]] = []
        self.document_ids: set[int] = set()
        """Of all documents so far."""
        for part in range(self._parts):
            self.document_ids.update(read_arrow(self._part(part))["document_id"].to_pylist())
        self._tokens = (folder / TOKENS_FILE).open("ab")
        self._tokens.truncate(self.num_tokens * TOKEN.itemsize)
        self._roles = (folder / ROLES_FILE).open("ab") if has_roles else None
        if self._roles:
            self._roles.truncate(self.num_tokens)

    def add(
        self,
        document: Document,
        tokens_L: npt.NDArray[np.uint32],
        *,
        held_out: bool,
        roles_L: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        """Append a document whose id is new. roles: of its tokens, for conversations."""
        assert (roles_L is not None) == (self._roles is not None), "conversations alone have roles, and all have"
        assert document.document_id not in self.document_ids, "a document comes once"
        self.document_ids.add(document.document_id)
        self._rows.append(
            {
                "document_id": document.document_id,
                "source": document.source,
                "meta": document.meta,
                "held_out": held_out,
                "offset": self.num_tokens,
                "num_tokens": len(tokens_L),
            }
        )
        self._tokens.write(tokens_L.astype(TOKEN).tobytes())
        if self._roles and roles_L is not None:
            self._roles.write(roles_L.tobytes())
        self.num_tokens += len(tokens_L)

    def checkpoint(self, state: dict[str, Any]) -> None:
        """Make everything so far safe from a kill, with what the caller needs to go on."""
        self._tokens.flush()
        if self._roles:
            self._roles.flush()
        if self._rows:
            write_arrow(self._part(self._parts), DOCUMENTS, [pa.RecordBatch.from_pylist(self._rows, DOCUMENTS)])
            self._parts, self._rows = self._parts + 1, []
        self.state = state
        temporary = self.folder / f"{CORPUS_CHECKPOINT}.new"
        temporary.write_text(json.dumps({"num_tokens": self.num_tokens, "parts": self._parts, "state": state}))
        temporary.replace(self.folder / CORPUS_CHECKPOINT)

    def finish(self, cutting: Cutting) -> tuple[int, int]:
        """Write documents.arrow and sequences.npy; returns the numbers of sequences and of split documents.

        Call `checkpoint` before. Nothing can be added afterwards.
        """
        assert not self._rows, "checkpoint first"
        self.close()
        documents = pa.concat_tables(
            [DOCUMENTS.empty_table(), *(read_arrow(self._part(n)) for n in range(self._parts))]
        )
        write_arrow(self.folder / DOCUMENTS_FILE, DOCUMENTS, _rebatched(documents))
        lengths_D = documents["num_tokens"].to_numpy()
        sequences_S = split_documents(lengths_D, cutting)
        np.save(self.folder / SEQUENCES_FILE, sequences_S)
        return len(sequences_S), int((lengths_D - cutting.first > cutting.longest).sum())

    def close(self) -> None:
        self._tokens.close()
        if self._roles:
            self._roles.close()

    def _part(self, number: int) -> Path:
        return self.folder / f".documents-{number:05d}.arrow"


def split_documents(lengths_D: npt.NDArray[np.int32], cutting: Cutting) -> np.ndarray:
    """Sequences [S] of SEQUENCE: every document cut into pieces, the remainder last."""
    longest = cutting.longest
    pieces_D = -(-(lengths_D.astype(np.int64) - cutting.first) // longest)
    sequences_S = np.empty(int(pieces_D.sum()), SEQUENCE)
    document_S = np.repeat(np.arange(len(lengths_D)), pieces_D)
    first_D = np.cumsum(pieces_D) - pieces_D
    start_S = (np.arange(len(sequences_S)) - first_D[document_S]) * longest + cutting.first
    sequences_S["document"] = document_S
    sequences_S["start"] = start_S
    sequences_S["length"] = np.minimum(longest, lengths_D[document_S] - start_S)
    return sequences_S


def _rebatched(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """Batches of one size, so that the file does not depend on when checkpoints were taken."""
    for start in range(0, len(table), CORPUS_BATCH_ROWS):
        yield from _one_batch(table.slice(start, CORPUS_BATCH_ROWS))


def _one_batch(table: pa.Table) -> Sequence[pa.RecordBatch]:
    batches: Sequence[pa.RecordBatch] = table.combine_chunks().to_batches()
    return batches
