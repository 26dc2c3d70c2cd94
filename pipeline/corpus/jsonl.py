"""JSON lines, plain or compressed with zstd (The Pile's own format) or gzip: one line is one document."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.errors import CorpusError
from pipeline.corpus.compressed import open_lines
from pipeline.corpus.document import Document, Source, State, make_document, take_text
from pipeline.corpus.files import find_files, name_in

JSONL_SUFFIXES = (".jsonl", ".jsonl.zst", ".jsonl.gz")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class JsonLines(Source):
    """Every .jsonl, .jsonl.zst and .jsonl.gz file below a folder, or one such file. Blank lines are passed over."""

    def __init__(self, path: Path, text_field: str) -> None:
        self.path = path
        self.text_field = text_field
        self.name = f"JSON lines in {path.name}"
        self._files = find_files(path, JSONL_SUFFIXES)
        self._state: State = {"file": 0, "line": 0, "offset": 0}

    def documents(self, state: State | None = None) -> Iterator[Document]:
        self._state = dict(state) if state else {"file": 0, "line": 0, "offset": 0}
        for number in range(self._state["file"], len(self._files)):
            if number != self._state["file"]:
                self._state = {"file": number, "line": 0, "offset": 0}
            yield from self._documents_of(self._files[number])

    def state(self) -> State:
        return dict(self._state)

    def _documents_of(self, file: Path) -> Iterator[Document]:
        name = name_in(self.path, file)
        with open_lines(file, self._state["offset"]) as lines:
            for line in lines:
                self._state["line"] += 1
                self._state["offset"] += len(line)
                if line.strip(b" \t\r\n"):
                    place = f"{name}:{self._state['line']}"
                    text, meta = take_text(_parse(line, file, self._state["line"]), self.text_field, place)
                    yield make_document("jsonl", place, place, text, meta)


def _parse(line: bytes, file: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line.removeprefix(BYTE_ORDER_MARK).decode())
    except UnicodeDecodeError as error:
        raise CorpusError(f"{file}, line {number}: not UTF-8 (byte {error.start}): save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise CorpusError(f"{file}, line {number}: not JSON ({error.msg}): fix or remove that line") from None
    if not isinstance(record, dict):
        raise CorpusError(
            f"{file}, line {number}: not a JSON object but {type(record).__name__}: fix or remove that line"
        )
    return record
