"""From documents to tokens: every document whole, resumable, and the sequences that the model reads."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from data.artifacts.corpus import TOKEN, is_held_out
from data.errors import CorpusError
from pipeline.corpus.document import Document, Source
from pipeline.corpus.writer import CorpusWriter
from pipeline.models.errors import ModelError
from pipeline.models.tokenizer import Tokenizer
from pipeline.progress import track
from pipeline.recipe import Recipe, TokenizeConfig

CHECKPOINT_SECONDS = 5.0
BATCH_CHARACTERS = 1_000_000
BATCH_DOCUMENTS = 512
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
    """Without a token, or with nothing but whitespace."""
    duplicate_documents: int = 0
    """Documents whose id had come before."""
    left_out_documents: int = 0
    """Of a kind (training, held out) that had reached its limit."""

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
        self.tally = Tally(**writer.state["tally"]) if writer.state else Tally()

    def is_done(self) -> bool:
        """Whether no further document can be wanted."""
        if self.limits.max_tokens is None or not self._is_full(held_out=False):
            return False
        return self.limits.max_held_out_tokens is None or self._is_full(held_out=True)

    def take(self, documents: list[Document]) -> int:
        """Tokenize a batch; returns the number of training tokens that it brought."""
        before = self.tally.tokens
        held_out = [is_held_out(document.document_id, self.held_out_fraction) for document in documents]
        wanted = [
            bool(d.text.strip()) and not self._is_full(held_out=h) for d, h in zip(documents, held_out, strict=True)
        ]
        encoded = iter(self.tokenizer.encode_batch([d.text for d, w in zip(documents, wanted, strict=True) if w]))
        for document, is_held, is_wanted in zip(documents, held_out, wanted, strict=True):
            if self.is_done():
                break
            self._take(document, next(encoded) if is_wanted else [], held_out=is_held)
        return self.tally.tokens - before

    def _take(self, document: Document, tokens: list[int], *, held_out: bool) -> None:
        if self._is_full(held_out=held_out):
            self.tally.left_out_documents += 1
        elif not tokens:
            self.tally.empty_documents += 1
        elif document.document_id in self.writer.document_ids:
            self.tally.duplicate_documents += 1
        else:
            tokens_L = np.array(tokens, TOKEN)
            if tokens_L.max() >= self.vocab_size:
                raise ModelError(
                    f"the tokenizer gives token {tokens_L.max()}, the model knows {self.vocab_size}: they do not "
                    "belong together, put the model's own tokenizer into its folder"
                )
            self.writer.add(document, tokens_L, held_out=held_out)
            self.tally.add(len(tokens), held_out=held_out)

    def _is_full(self, *, held_out: bool) -> bool:
        limit = self.limits.max_held_out_tokens if held_out else self.limits.max_tokens
        tokens = self.tally.held_out_tokens if held_out else self.tally.tokens
        return limit is not None and tokens >= limit


def read_documents(source: Source, tokenization: Tokenization) -> None:
    """Take batches until all is read, with a checkpoint every few seconds and at the end."""
    if tokenization.is_done():
        return
    writer, tally = tokenization.writer, tokenization.tally
    begun = writer.state["source"] if writer.state else None
    saved = time.monotonic()
    with track("tokenize", tokenization.limits.max_tokens, done=tally.tokens) as progress:
        for batch in batches(source.documents(begun)):
            progress.advance(tokenization.take(batch))
            if tokenization.is_done():
                break
            if time.monotonic() - saved >= CHECKPOINT_SECONDS:
                writer.checkpoint({"source": source.state(), "tally": asdict(tally)})
                saved = time.monotonic()
    writer.checkpoint({"source": source.state(), "tally": asdict(tally)})


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
    if tally.tokens < recipe.train.batch_size:
        raise CorpusError(
            f"the corpus ({corpus}) has {tally.tokens:,} training tokens in {tally.documents:,} "
            f"documents ({tally.held_out_documents:,} are held out), fewer than one training batch of "
            f"{recipe.train.batch_size:,}: give more text, or set train.batch_size (and corpus.held_out_fraction) lower"
        )


def _proposal(tally: Tally, recipe: Recipe, document_ids: set[int]) -> str:
    """A proposal that would hold out at least one of these documents and leave one to train on."""
    if recipe.tokenize.max_tokens is not None and recipe.tokenize.max_held_out_tokens is None:
        return "set tokenize.max_held_out_tokens, so that reading goes on until there are some"
    for fraction in PROPOSED_FRACTIONS:
        held_out = sum(is_held_out(document, fraction) for document in document_ids)
        if fraction > recipe.corpus.held_out_fraction and 0 < held_out < len(document_ids):
            return f"set corpus.held_out_fraction={fraction}, which would hold out {held_out:,} of them"
    return "give more documents; large files can be cut into several"
