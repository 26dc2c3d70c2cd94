"""Encodings of a corpus, as far as the beginnings of its files tell, before any work."""

from pipeline.corpus import corpus_root, find_corpus
from pipeline.corpus.encoding import encoding_error, wrong_encodings
from pipeline.recipe import CorpusConfig

BEGINNING_BYTES = 1 << 16
"""Read of each file to see whether it is UTF-8."""
MAX_FILES = 1000
"""Whose beginnings are read: 64 MB in all. The stage itself reads every byte of every file."""
ENCODED_SOURCES = ("text", "jsonl", "csv")


def encoding_problems(config: CorpusConfig) -> list[str]:
    """A message that names all files whose beginnings are not UTF-8, where the recipe refuses them."""
    if config.source not in ENCODED_SOURCES or config.bad_encoding != "refuse":
        return []
    files = find_corpus(config).files[:MAX_FILES]
    wrong = wrong_encodings(corpus_root(config), files, BEGINNING_BYTES)
    return [encoding_error(wrong)] if wrong else []
