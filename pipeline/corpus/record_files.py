"""What every corpus of files has in common: files one after the other, and the place in the one that is read."""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pipeline.corpus.document import Document, Source, State
from pipeline.corpus.files import FileKinds, find_files
from pipeline.recipe import CorpusConfig


class RecordFiles(Source):
    """The records of every file of some kinds below a folder, or of one such file."""

    start: ClassVar[State]
    """The place before the first record, with the number of the file as "file"."""

    def __init__(self, path: Path, config: CorpusConfig, kinds: FileKinds, what: str) -> None:
        """what: these files, for people."""
        super().__init__(config.max_document_characters)
        self.path, self.name = path, f"{what} in {path.name}"
        found = find_files(path, kinds)
        self._files, self.passed_over = found.files, found.describe_others()
        self._place: State = dict(self.start)

    def records(self, place: State | None) -> Iterator[Document]:
        self._place = dict(place or self.start)
        for number in range(self._place["file"], len(self._files)):
            if number != self._place["file"]:
                self._place = {**self.start, "file": number}
            yield from self._records_of(self._files[number])

    def place(self) -> State:
        return dict(self._place)

    @abstractmethod
    def _records_of(self, file: Path) -> Iterator[Document]:
        """The records of a file behind the place, which goes on with them."""
