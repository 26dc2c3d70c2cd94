"""The corpus: its list of files and its first documents; all of them where they are few."""

import os
from itertools import islice

from data.artifacts.corpus import is_held_out
from data.errors import CorpusError, MonosemaError
from data.layout import StorePaths
from pipeline.corpus import corpus_files, is_streamed, open_source
from pipeline.corpus.checks import encoding_problems
from pipeline.corpus.document import Document, Source
from pipeline.corpus.tokenization import Tally, check_corpus, foreign_tokenizer, has_content
from pipeline.fetching.hub import require_dataset
from pipeline.fetching.local import sample_corpus_folder
from pipeline.models.errors import ModelError
from pipeline.preflight.model import ModelFound
from pipeline.recipe import CorpusConfig, ReadRecipe

READ_BY = (
    *("source", "path", "text_field", "dataset", "configuration", "split", "revision"),
    *("bad_encoding", "separator", "max_document_characters"),
    *("turns", "template_tokens", "bad_conversations"),
)
"""Fields without which the corpus cannot be looked at."""
FIRST_CHARACTERS = 500_000
FIRST_DOCUMENTS = 2000
"""Where the corpus ends before that, it is known whole."""


def corpus_problems(read: ReadRecipe, store: StorePaths, model: ModelFound) -> list[str]:
    """What keeps the corpus from being read, as far as its beginning says."""
    config = read.recipe.corpus
    if not read.gives(*(f"corpus.{name}" for name in READ_BY)):
        return []
    if config.source == "sample" and not sample_corpus_folder(store).is_dir():
        return []
    try:
        if is_streamed(config):
            assert config.dataset is not None, "checked by the recipe"
            require_dataset(config.dataset, config.revision)
            return []
        if unreadable := _unreadable(config):
            return [unreadable]
        if wrong := encoding_problems(config):
            return wrong
        source = open_source(config, sample_corpus_folder(store))
        documents, ended = _first_documents(source)
        return _document_problems(read, source, documents, ended, model)
    except (MonosemaError, ModelError) as error:
        return [str(error)]


def _unreadable(config: CorpusConfig) -> str:
    """The files that may not be read, in one sentence; "" where all may."""
    files = [] if config.source == "sample" else corpus_files(config)
    closed = [str(file) for file in files if not os.access(file, os.R_OK)]
    others = f" and {len(closed) - 3} more files" if len(closed) > 3 else ""
    return f"{', '.join(closed[:3])}{others} may not be read: allow it, or take them out" if closed else ""


def _first_documents(source: Source) -> tuple[list[Document], bool]:
    """The first documents, and whether they are all that there are."""
    found: list[Document] = []
    characters = 0
    documents = source.documents()
    for document in islice(documents, FIRST_DOCUMENTS):
        found.append(document)
        characters += len(document.text)
        if characters >= FIRST_CHARACTERS:
            break
    return found, next(documents, None) is None


def _document_problems(
    read: ReadRecipe, source: Source, documents: list[Document], ended: bool, model: ModelFound
) -> list[str]:
    lengths, highest = _tokenize(documents, model)
    vocab_size = model.number("vocab_size")
    if vocab_size is not None and highest >= vocab_size:
        return [foreign_tokenizer(highest, vocab_size)]
    if not ended or not read.gives("corpus", "tokenize", "train.batch_size"):
        return []
    tally = _tally(documents, lengths, read.recipe.corpus.held_out_fraction)
    try:
        check_corpus(tally, read.recipe, source.name, {document.document_id for document in documents})
    except CorpusError as error:
        return [str(error)]
    return []


def _tokenize(documents: list[Document], model: ModelFound) -> tuple[list[int], int]:
    """Tokens of each document, and the highest token. Without a tokenizer, or of long texts: no fewer, and -1."""
    texts = [document.text for document in documents]
    if model.encode is None or sum(map(len, texts)) > 2 * FIRST_CHARACTERS:
        return [len(text.encode("utf-8", "replace")) + 1 for text in texts], -1
    encoded = model.encode(texts)
    return [len(tokens) for tokens in encoded], max((max(tokens, default=-1) for tokens in encoded), default=-1)


def _tally(documents: list[Document], lengths: list[int], held_out_fraction: float) -> Tally:
    tally, seen = Tally(), set[int]()
    for document, length in zip(documents, lengths, strict=True):
        if document.document_id in seen or not has_content(document):
            tally.empty_documents += document.document_id not in seen
        else:
            held_out = is_held_out(document.document_id, held_out_fraction)
            tally.add(length, held_out=held_out)
            tally.counted_tokens += 0 if held_out else length
        seen.add(document.document_id)
    return tally
