"""Where documents come from: one module per source, all behind `Source`."""

from pathlib import Path

from pipeline.config import CorpusConfig
from pipeline.corpus.document import Source


def open_source(config: CorpusConfig, sample_folder: Path) -> Source:
    """The corpus that the recipe names. Raises CorpusError when it is not there.

    sample_folder: where `fetch` put the sample corpus.
    """
    match config.source:
        case "sample":
            from pipeline.corpus.sample import SampleCorpus

            return SampleCorpus(sample_folder)
        case "text":
            from pipeline.corpus.text import TextFiles

            return TextFiles(_path(config))
        case "jsonl":
            from pipeline.corpus.jsonl import JsonLines

            return JsonLines(_path(config), config.text_field)
        case "parquet":
            from pipeline.corpus.parquet import ParquetFiles

            return ParquetFiles(_path(config), config.text_field)
        case "huggingface":
            from pipeline.corpus.huggingface import HuggingFaceDataset

            assert config.dataset is not None, "checked by the recipe"
            return HuggingFaceDataset(
                config.dataset,
                text_field=config.text_field,
                configuration=config.configuration,
                split=config.split,
                revision=config.revision,
            )


def _path(config: CorpusConfig) -> Path:
    assert config.path is not None, "checked by the recipe"
    return config.path.expanduser()
