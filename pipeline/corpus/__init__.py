"""Sources of documents: one module per source, all behind `Source`."""

from pathlib import Path

from pipeline.corpus import jsonl, parquet, text
from pipeline.corpus.document import Source
from pipeline.corpus.files import find_files
from pipeline.corpus.huggingface import HuggingFaceDataset
from pipeline.corpus.sample import SampleCorpus
from pipeline.recipe import CorpusConfig

SUFFIXES = {"text": text.TEXT_SUFFIXES, "jsonl": jsonl.JSONL_SUFFIXES, "parquet": parquet.PARQUET_SUFFIXES}
"""File name suffixes that each source reads."""


def open_source(config: CorpusConfig, sample_folder: Path) -> Source:
    """The corpus that the recipe names. Raises CorpusError when it is not there.

    sample_folder: where `fetch` put the sample corpus.
    """
    if config.source == "sample":
        return SampleCorpus(sample_folder)
    if config.source == "huggingface":
        assert config.dataset is not None, "checked by the recipe"
        return HuggingFaceDataset(
            config.dataset,
            text_field=config.text_field,
            configuration=config.configuration,
            split=config.split,
            revision=config.revision,
        )
    path = corpus_root(config)
    match config.source:
        case "text":
            return text.TextFiles(path)
        case "jsonl":
            return jsonl.JsonLines(path, config.text_field)
        case "parquet":
            return parquet.ParquetFiles(path, config.text_field)


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
    root = corpus_root(config)
    if config.source == "huggingface":
        return sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else []
    return find_files(root, SUFFIXES[config.source])
