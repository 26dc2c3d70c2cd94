"""A dataset of the Hugging Face Hub, streamed, or a local folder in one of its formats: one row is one document."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.errors import CorpusError
from pipeline.corpus.conversations import Fields
from pipeline.corpus.document import Document, Source, State, make_record
from pipeline.recipe import CorpusConfig


class HuggingFaceDataset(Source):
    """Rows of one split, in order. The dataset is an id or a folder (data files, or what `save_to_disk` wrote)."""

    def __init__(self, config: CorpusConfig) -> None:
        super().__init__(config.max_document_characters)
        dataset, configuration, split, revision = config.dataset, config.configuration, config.split, config.revision
        assert dataset is not None, "checked by the recipe"
        local = Path(dataset).is_dir()
        short = Path(dataset).name if local else dataset
        parts = [short, configuration, None if split == "train" else split, revision and revision[:8]]
        self.name = " ".join(part for part in parts if part)
        self.streamed = not local
        self._fields = Fields.of(config)
        self._kind = f"huggingface/{short}/{configuration or ''}/{split}"
        self._rows = _open(dataset, configuration, split, None if local else revision)
        self._done = 0

    def records(self, place: State | None) -> Iterator[Document]:
        self._done = place["rows"] if place else 0
        if place:
            self._rows.load_state_dict(place["dataset"])
        for record in self._records():
            row = self._done
            document = make_record(self._kind, str(row), f"{self.name}, row {row}", record, self._fields)
            self._done += 1
            yield document

    def place(self) -> State:
        return {"rows": self._done, "dataset": self._rows.state_dict()}

    def _records(self) -> Iterator[dict[str, Any]]:
        rows = iter(self._rows)
        while True:
            try:
                record = next(rows)
            except StopIteration:
                return
            except Exception as error:  # the network, or any of the library's readers
                raise CorpusError(
                    f"{self.name}, row {self._done} cannot be read ({error}): run the same command again when that is "
                    "restored; it resumes where it stopped"
                ) from error
            yield record


def _open(dataset: str, configuration: str | None, split: str, revision: str | None) -> Any:
    """The split as an iterable dataset. Raises CorpusError with what to do."""
    import datasets

    datasets.utils.logging.set_verbosity_error()
    try:
        if was_saved_to_disk(Path(dataset)):
            return _pick_split(datasets.load_from_disk(dataset), split).to_iterable_dataset()
        return datasets.load_dataset(dataset, configuration, split=split, revision=revision, streaming=True)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise CorpusError(
            f"dataset '{dataset}' cannot be opened ({error}): check corpus.dataset and corpus.revision; for a gated "
            "one, accept its licence on huggingface.co and set HF_TOKEN"
        ) from None
    except ConnectionError as error:
        raise CorpusError(
            f"dataset '{dataset}' cannot be reached ({error}): connect to the network, or set corpus.dataset to a "
            "local folder"
        ) from None
    except Exception as error:  # wrong split or configuration, broken files: each a kind of its own
        raise CorpusError(
            f"dataset '{dataset}' cannot be opened ({error}): check corpus.dataset, corpus.configuration and "
            "corpus.split"
        ) from None


def was_saved_to_disk(folder: Path) -> bool:
    """Whether a folder is what `save_to_disk` of the datasets library wrote."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def _pick_split(saved: Any, split: str) -> Any:
    """A dataset saved alone has no splits."""
    if not hasattr(saved, "keys"):
        return saved
    if split not in saved:
        raise CorpusError(f"there is no split '{split}', only {', '.join(saved)}: set corpus.split")
    return saved[split]
