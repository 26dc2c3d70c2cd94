"""From documents to tokens: every document whole, resumable, and the sequences that the model reads.

Where a limit is set, a first reading draws the documents that it takes (drawing.py) and its result is kept with the
first checkpoint. A corpus that is streamed is read once, and a limit takes its first documents.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from queue import Empty, Queue
from threading import Event, Thread
from typing import TypeVar

import numpy as np

from data.artifacts.corpus import TOKEN, is_held_out
from data.errors import CorpusError
from pipeline.corpus.chats import Chats, Encoded, mark_of
from pipeline.corpus.document import Document, Source, State
from pipeline.corpus.drawing import Drawn, Limits, draw, number_of
from pipeline.corpus.writer import CorpusWriter
from pipeline.models.errors import ModelError
from pipeline.models.tokenizer import Tokenizer
from pipeline.progress import track
from pipeline.recipe import Recipe, TokenizeConfig

T = TypeVar("T")

CHECKPOINT_SECONDS = 5.0
BATCH_CHARACTERS = 1_000_000
BATCH_DOCUMENTS = 512
KEPT_TOKENS = 1_000_000
"""Of documents that may be drawn, kept for when they are taken, at most: 40 MB."""
PROPOSED_FRACTIONS = (0.05, 0.1, 0.2, 0.3, 0.5)


@dataclass
class Tally:
    """Counts of what has been read so far."""

    documents: int = 0
    """For training."""
    held_out_documents: int = 0
    tokens: int = 0
    """Of training documents."""
    held_out_tokens: int = 0
    empty_documents: int = 0
    """Without a token, or with nothing but whitespace; for a model without BOS, with a single token, too."""
    duplicate_documents: int = 0
    """Documents whose id had come before."""
    left_out_documents: int = 0
    """That the limits did not take, of those that were read."""
    bad_conversations: int = 0
    """That were left out, since the template refuses them, or they have messages without role or text."""
    counted_tokens: int = 0
    """Of training documents, those that count: all but of conversations."""
    marked_documents: int = 0
    """Plain text with names of special tokens, as of a filled chat template."""
    mark: str = ""
    """The first such name."""

    def counts(self) -> dict[str, int | str]:
        """The same for a manifest."""
        return {"mark" if name == "mark" else f"num_{name}": value for name, value in asdict(self).items()}

    def add(self, num_tokens: int, *, held_out: bool) -> None:
        if held_out:
            self.held_out_documents += 1
            self.held_out_tokens += num_tokens
        else:
            self.documents += 1
            self.tokens += num_tokens


class Tokenization:
    """Takes documents in order and writes those that are wanted."""

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer, vocab_size: int, writer: CorpusWriter) -> None:
        self.limits: TokenizeConfig = recipe.tokenize
        self.held_out_fraction = recipe.corpus.held_out_fraction
        self.tokenizer, self.vocab_size, self.writer = tokenizer, vocab_size, writer
        self.seed = recipe.seed
        self.chats = Chats.of(recipe.corpus, tokenizer)
        self._kept: dict[int, Encoded] = {}
        """Documents that the draw has tokenized, by id."""
        self._room = KEPT_TOKENS
        self._fewest = 1 if tokenizer.bos_id is not None else 2  # of which the first opens the document
        self.tally = Tally(**writer.state["tally"]) if writer.state else Tally()
        drawn = writer.state["drawn"] if writer.state else None
        self.drawn = Drawn(**drawn) if drawn else None
        """What the limits take, where that is drawn; None where they take the first documents, or there are none."""

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit at all."""
        return self.limits.max_tokens is not None or self.limits.max_held_out_tokens is not None

    def draw(self, source: Source) -> None:
        """Read the corpus once to say which of its documents are taken."""
        limits = Limits(self.limits.max_tokens, self.limits.max_held_out_tokens, self.held_out_fraction, self.seed)
        with track("draw", None, "documents") as progress:
            self.drawn = drawn = draw(ahead(batches(source.documents())), limits, self._count, progress.advance)
        self._kept = {document: one for document, one in self._kept.items() if self._is_drawn(document, drawn)}
        self.checkpoint(None)

    def checkpoint(self, place: State | None) -> None:
        """Make everything so far safe from a kill. place: in the source, None at its start."""
        drawn = asdict(self.drawn) if self.drawn else None
        self.writer.checkpoint({"source": place, "tally": asdict(self.tally), "drawn": drawn})

    def reached(self) -> list[str]:
        """Names of the limits that left something out, or may have where the rest of the corpus was not read."""
        if self.drawn:
            own = {"max_tokens": self.drawn.cut, "max_held_out_tokens": self.drawn.held_out_cut}
            return [name for name, cut in own.items() if cut is not None and getattr(self.limits, name) is not None]
        kinds = {"max_tokens": False, "max_held_out_tokens": True}
        return [name for name, held_out in kinds.items() if self._is_full(held_out=held_out)]

    def is_done(self) -> bool:
        """Whether no further document can be wanted."""
        if self.drawn:
            return False
        if self.limits.max_tokens is None or not self._is_full(held_out=False):
            return False
        return self.limits.max_held_out_tokens is None or self._is_full(held_out=True)

    def take(self, documents: list[Document]) -> int:
        """Tokenize a batch; returns the number of training tokens that it brought."""
        before = self.tally.tokens
        held_out = [is_held_out(document.document_id, self.held_out_fraction) for document in documents]
        wanted = [has_content(d) and self._takes(d, held_out=h) for d, h in zip(documents, held_out, strict=True)]
        encoded = iter(self._encode([d for d, w in zip(documents, wanted, strict=True) if w]))
        for document, is_held, is_wanted in zip(documents, held_out, wanted, strict=True):
            if self.is_done():
                break
            self._take(document, next(encoded) if is_wanted else Encoded([]), held_out=is_held)
        return self.tally.tokens - before

    def _take(self, document: Document, encoded: Encoded, *, held_out: bool) -> None:
        tokens = encoded.tokens
        if has_content(document) and not self._takes(document, held_out=held_out):
            self.tally.left_out_documents += 1
        elif encoded.is_bad:
            self.tally.bad_conversations += 1
        elif len(tokens) < self._fewest:
            self.tally.empty_documents += 1
        elif document.document_id in self.writer.document_ids:
            self.tally.duplicate_documents += 1
        else:
            tokens_L = np.array(tokens, TOKEN)
            if tokens_L.max() >= self.vocab_size:
                raise ModelError(foreign_tokenizer(int(tokens_L.max()), self.vocab_size))
            self.writer.add(document, tokens_L, held_out=held_out, roles_L=encoded.roles_L)
            self.tally.add(len(tokens), held_out=held_out)
            self.tally.counted_tokens += 0 if held_out else encoded.num_counted
            self._note_mark(document)

    def _takes(self, document: Document, *, held_out: bool) -> bool:
        """Whether the limits leave room for a document."""
        return self._is_drawn(document.document_id, self.drawn) if self.drawn else not self._is_full(held_out=held_out)

    def _is_drawn(self, document: int, drawn: Drawn) -> bool:
        return drawn.takes(number_of(document, self.seed), held_out=is_held_out(document, self.held_out_fraction))

    def _encode(self, documents: list[Document]) -> list[Encoded]:
        anew = iter(self._encode_anew([one for one in documents if one.document_id not in self._kept]))
        return [self._kept[one.document_id] if one.document_id in self._kept else next(anew) for one in documents]

    def _encode_anew(self, documents: list[Document]) -> list[Encoded]:
        if self.chats is not None:
            return [self.chats.encode(document) for document in documents]
        return [Encoded(tokens) for tokens in self.tokenizer.encode_batch([document.text for document in documents])]

    def _count(self, documents: list[Document]) -> list[int]:
        """Tokens of each document, which are kept as long as there is room."""
        found = self._encode_anew(documents) if documents else []
        for document, encoded in zip(documents, found, strict=True):
            if len(encoded.tokens) <= self._room:
                self._room -= len(encoded.tokens)
                self._kept[document.document_id] = encoded
        return [len(encoded.tokens) for encoded in found]

    def _note_mark(self, document: Document) -> None:
        """Count plain text that looks like a filled chat template."""
        if self.chats is None and (mark := mark_of(document.text, self.tokenizer.template_names)):
            self.tally.marked_documents += 1
            self.tally.mark = self.tally.mark or mark

    def _is_full(self, *, held_out: bool) -> bool:
        limit = self.limits.max_held_out_tokens if held_out else self.limits.max_tokens
        tokens = self.tally.held_out_tokens if held_out else self.tally.tokens
        return limit is not None and tokens >= limit


def has_content(document: Document) -> bool:
    """Whether a document has text, or is a conversation that must be spoken of."""
    return bool(document.text.strip()) or document.chat is not None


def read_documents(source: Source, tokenization: Tokenization) -> None:
    """Take batches until all is read, with a checkpoint every few seconds and at the end."""
    writer, tally = tokenization.writer, tokenization.tally
    begun = writer.state["source"] if writer.state else None
    if begun:
        source.counts = dict(begun["counts"])
    if tokenization.is_done():
        return
    if tokenization.is_limited and writer.state is None and not source.streamed:
        tokenization.draw(source)
    saved = time.monotonic()
    with track("tokenize", tokenization.limits.max_tokens, done=tally.tokens) as progress:
        for batch in batches(source.documents(begun)):
            progress.advance(tokenization.take(batch))
            if tokenization.is_done():
                break
            if time.monotonic() - saved >= CHECKPOINT_SECONDS:
                tokenization.checkpoint(source.state())
                saved = time.monotonic()
    tokenization.checkpoint(source.state())


def batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    """Documents by so many characters, or so many documents; none is drawn before it is needed."""
    for first in documents:
        batch, characters = [first], len(first.text)
        while characters < BATCH_CHARACTERS and len(batch) < BATCH_DOCUMENTS:
            document = next(documents, None)
            if document is None:
                break
            batch.append(document)
            characters += len(document.text)
        yield batch


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made by another thread while the one before it is used.

    Nobody waits for that thread: who stops, by Ctrl-C too, stops at once.
    """
    made: Queue[tuple[T | None, BaseException | None]] = Queue(1)
    stopped = Event()

    def make() -> None:
        try:
            for item in items:
                made.put((item, None))
                if stopped.is_set():
                    return
            made.put((None, None))
        except BaseException as error:  # raised where the items are used
            made.put((None, error))

    Thread(target=make, name="read ahead", daemon=True).start()
    try:
        while (found := made.get())[0] is not None:
            yield found[0]
        if found[1] is not None:
            raise found[1]
    finally:
        stopped.set()
        with suppress(Empty):  # so that the thread is not kept waiting to put what it has
            made.get_nowait()


def foreign_tokenizer(token: int, vocab_size: int) -> str:
    """What is wrong where the tokenizer gives a token that the model does not know."""
    return (
        f"the tokenizer gives token {token}, the model knows {vocab_size}: they do not belong together, put the "
        "model's own tokenizer into its folder"
    )


def check_corpus(tally: Tally, recipe: Recipe, corpus: str, document_ids: set[int]) -> None:
    """Raise CorpusError when there is too little to train on, or nothing to measure on."""
    documents = tally.documents + tally.held_out_documents
    if documents == 0:
        raise CorpusError(
            f"the corpus ({corpus}) is empty: {tally.empty_documents:,} documents without text, none with; give "
            "one with text, or check corpus.text_field"
        )
    if tally.held_out_documents == 0:
        share = f"{recipe.corpus.held_out_fraction:.3g}"
        raise CorpusError(
            f"none of the {documents:,} documents of the corpus ({corpus}) fell into the held-out share of {share}, on "
            f"which metrics are measured: {_proposal(tally, recipe, document_ids)}"
        )
    if tally.counted_tokens == 0:
        raise CorpusError(
            f"no token of the corpus ({corpus}) counts: its conversations have no turn of {_turns(recipe)}; set "
            "corpus.turns=all, or give others"
        )
    if recipe.train.saes and tally.counted_tokens < recipe.train.batch_size:
        raise CorpusError(
            f"the corpus ({corpus}) has {tally.counted_tokens:,} training tokens in {tally.documents:,} "
            f"documents ({tally.held_out_documents:,} are held out), fewer than one training batch of "
            f"{recipe.train.batch_size:,}: give more text, or set train.batch_size (and corpus.held_out_fraction) lower"
        )


def _turns(recipe: Recipe) -> str:
    turns = recipe.corpus.turns
    return " or ".join(f"'{one}'" for one in ((turns,) if isinstance(turns, str) else turns or ()))


def _proposal(tally: Tally, recipe: Recipe, document_ids: set[int]) -> str:
    """A proposal that would hold out at least one of these documents and leave one to train on."""
    if recipe.tokenize.max_tokens is not None and recipe.tokenize.max_held_out_tokens is None:
        return "set tokenize.max_held_out_tokens, so that reading goes on until there are some"
    for fraction in PROPOSED_FRACTIONS:
        held_out = sum(is_held_out(document, fraction) for document in document_ids)
        if fraction > recipe.corpus.held_out_fraction and 0 < held_out < len(document_ids):
            return f"set corpus.held_out_fraction={fraction}, which would hold out {held_out:,} of them"
    return (
        "give more documents, or set corpus.max_document_characters lower: long documents are then cut into parts, "
        "which count as documents"
    )
