"""Which documents a limit takes: a random sample of them, where the corpus can be read twice.

Every document has a number by its id and the run's seed. Those with the lowest numbers are taken, up to the one with
which the limit is reached: whole documents, each as likely as any other, whatever their order. Finding the number at
which to cut takes one reading of the corpus; only documents that may still be among the lowest are tokenized for it.
"""

import hashlib
import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from data.artifacts.corpus import is_held_out
from pipeline.corpus.document import Document


@dataclass(frozen=True)
class Drawn:
    """What a limit takes of a corpus."""

    cut: int | None
    """Training documents with a lower number are taken; None takes all."""
    held_out_cut: int | None
    """The same for held-out ones."""
    num_documents: int
    """Of the whole corpus, those with text."""
    num_tokens: int
    """Of the whole corpus, estimated from its characters."""

    def takes(self, number: int, *, held_out: bool) -> bool:
        """Whether a document with this number is taken."""
        cut = self.held_out_cut if held_out else self.cut
        return cut is None or number < cut


def number_of(document: int, seed: int) -> int:
    """The number that a document draws: 64 bits, by its id and the seed."""
    mixed = hashlib.blake2b(document.to_bytes(8, "little"), digest_size=8, key=f"drawn {seed}".encode())
    return int.from_bytes(mixed.digest(), "little")


class Lowest:
    """The documents with the lowest numbers that reach a limit together."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.cut: int | None = None
        """Documents from this number on are not among them."""
        self._num_tokens = 0
        self._heap: list[tuple[int, int]] = []
        """Number, negative so that the highest comes first, and tokens of each."""

    def wants(self, number: int) -> bool:
        """Whether a document may be among them."""
        return self.limit is not None and (self.cut is None or number < self.cut)

    def add(self, number: int, num_tokens: int) -> None:
        """Count in a document; those that are no longer needed go."""
        assert self.limit is not None
        if not self.wants(number):
            return
        heapq.heappush(self._heap, (-number, num_tokens))
        self._num_tokens += num_tokens
        while self._num_tokens - self._heap[0][1] >= self.limit:
            highest, freed = heapq.heappop(self._heap)
            self.cut, self._num_tokens = -highest, self._num_tokens - freed


@dataclass(frozen=True)
class Limits:
    """How much is to be taken."""

    max_tokens: int | None
    max_held_out_tokens: int | None
    """None beside a limit for training documents takes the same share of the held-out ones."""
    held_out_fraction: float
    seed: int


def draw(
    batches: Iterable[Sequence[Document]],
    limits: Limits,
    count: Callable[[list[Document]], list[int]],
    report: Callable[[int], None],
) -> Drawn:
    """Read a corpus and say what its limits take. count: tokens of each document; report: is told of documents read."""
    lowest = {False: Lowest(limits.max_tokens), True: Lowest(limits.max_held_out_tokens)}
    seen: set[int] = set()
    characters = counted_characters = counted_tokens = 0
    for batch in batches:
        wanted = []
        for document in batch:
            if document.document_id in seen or not document.text.strip():
                continue
            seen.add(document.document_id)
            characters += len(document.text)
            kind = lowest[is_held_out(document.document_id, limits.held_out_fraction)]
            number = number_of(document.document_id, limits.seed)
            if kind.wants(number):
                wanted.append((kind, number, document))
        for (kind, number, one), num_tokens in zip(wanted, count([one for *_, one in wanted]), strict=True):
            kind.add(number, num_tokens)
            counted_characters, counted_tokens = counted_characters + len(one.text), counted_tokens + num_tokens
        report(len(batch))
    num_tokens = round(counted_tokens * characters / max(counted_characters, 1))
    held_out_cut = lowest[False].cut if limits.max_held_out_tokens is None else lowest[True].cut
    return Drawn(lowest[False].cut, held_out_cut, len(seen), num_tokens)
