"""A folder of text files: one file is one document."""

from collections.abc import Iterator
from pathlib import Path

from data.errors import CorpusError
from pipeline.corpus.document import Document, Source, State, make_document
from pipeline.corpus.files import find_files, name_in

TEXT_SUFFIXES = (".txt", ".md")


class TextFiles(Source):
    """Every .txt and .md file below a folder, UTF-8."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"text files in {path.name}"
        self._files = find_files(path, TEXT_SUFFIXES)
        self._done = 0

    def documents(self, state: State | None = None) -> Iterator[Document]:
        self._done = state["files"] if state else 0
        for file in self._files[self._done :]:
            self._done += 1
            name = name_in(self.path, file)
            yield make_document("text", name, name, _read(file))

    def state(self) -> State:
        return {"files": self._done}


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{file} is not UTF-8 (byte {error.start}): save it as UTF-8, or take it out") from None
    except OSError as error:
        raise CorpusError(f"{file} cannot be read: {error.strerror}") from None
