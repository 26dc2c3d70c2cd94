"""What is wrong with a corpus as far as its file list and its beginnings tell, before any work."""

from pathlib import Path

from data.errors import CorpusError
from pipeline.corpus import corpus_root, find_corpus, is_streamed, open_source
from pipeline.corpus.encoding import encoding_error, wrong_encodings
from pipeline.recipe import CorpusConfig

BEGINNING_BYTES = 1 << 16
"""Read of each file to see whether it is UTF-8."""
MAX_FILES = 1000
"""Whose beginnings are read: 64 MB in all. The stage itself reads every byte of every file."""
ENCODED_SOURCES = ("text", "jsonl", "csv")


def corpus_problems(config: CorpusConfig, sample_folder: Path) -> list[str]:
    """Everything that is wrong, each as a message that says what to do; nothing of a corpus that is streamed, or of the
    sample while it is not fetched."""
    if is_streamed(config) or (config.source == "sample" and not sample_folder.is_dir()):
        return []
    try:
        problems = encoding_problems(config)
        if not problems:
            next(open_source(config, sample_folder).documents(), None)
    except CorpusError as error:
        return [str(error)]
    return problems


def encoding_problems(config: CorpusConfig) -> list[str]:
    """A message that names all files whose beginnings are not UTF-8, where the recipe refuses them."""
    if config.source not in ENCODED_SOURCES or config.bad_encoding != "refuse":
        return []
    files = find_corpus(config).files[:MAX_FILES]
    wrong = wrong_encodings(corpus_root(config), files, BEGINNING_BYTES)
    return [encoding_error(wrong)] if wrong else []
