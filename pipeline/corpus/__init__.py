"""Sources of documents: one module per source, all behind `Source`."""

from pathlib import Path

from pipeline.corpus.delimited import CSV_FILES, DelimitedFiles
from pipeline.corpus.document import Source
from pipeline.corpus.files import FoundFiles, find_files
from pipeline.corpus.huggingface import HuggingFaceDataset
from pipeline.corpus.jsonl import JSON_FILES, JsonLines
from pipeline.corpus.parquet import PARQUET_FILES, ParquetFiles
from pipeline.corpus.sample import SampleCorpus
from pipeline.corpus.text import TEXT_FILES, TextFiles
from pipeline.recipe import CorpusConfig

KINDS = {"text": TEXT_FILES, "jsonl": JSON_FILES, "csv": CSV_FILES, "parquet": PARQUET_FILES}
"""Files that each source reads."""


def open_source(config: CorpusConfig, sample_folder: Path) -> Source:
    """The corpus that the recipe names. Raises CorpusError when it is not there.

    sample_folder: where `fetch` put the sample corpus.
    """
    match config.source:
        case "sample":
            return SampleCorpus(sample_folder, config)
        case "huggingface":
            return HuggingFaceDataset(config)
        case "text":
            return TextFiles(corpus_root(config), config)
        case "jsonl":
            return JsonLines(corpus_root(config), config)
        case "csv":
            return DelimitedFiles(corpus_root(config), config)
        case "parquet":
            return ParquetFiles(corpus_root(config), config)


def is_streamed(config: CorpusConfig) -> bool:
    """Whether the corpus comes over the network as it is read."""
    return config.source == "huggingface" and not corpus_root(config).is_dir()


def corpus_root(config: CorpusConfig) -> Path:
    """The file or folder of a corpus on disk; for a dataset of the Hub, a path that does not exist."""
    root = config.dataset if config.source == "huggingface" else config.path
    assert root is not None, "checked by the recipe"
    return Path(root).expanduser()


def corpus_files(config: CorpusConfig) -> list[Path]:
    """The files that a corpus on disk is made of; none for one that is streamed. Raises CorpusError."""
    return find_corpus(config).files


def find_corpus(config: CorpusConfig) -> FoundFiles:
    """The same with what is passed over in its folder."""
    root = corpus_root(config)
    if config.source == "huggingface":
        files = sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else []
        return FoundFiles(files, {})
    return find_files(root, KINDS[config.source])
