"""Bytes to text: UTF-8, with what the recipe says of files that are not."""

import codecs
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from data.errors import CorpusError
from pipeline.corpus.compressed import open_lines
from pipeline.corpus.files import name_in, names_of

BLOCK_BYTES = 1 << 20
BYTE_ORDER_MARK = codecs.BOM_UTF8
OTHER_MARKS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


class TextBlocks:
    """The text of a file block by block, without its byte order mark, every line ended by LF."""

    def __init__(self, file: Path, *, replace: bool) -> None:
        """replace: whether wrong bytes become U+FFFD. Raises UnicodeDecodeError while it is read where they do not."""
        self._file = file
        decoder = codecs.getincrementaldecoder("utf-8-sig")("replace" if replace else "strict")
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)

    def __iter__(self) -> Iterator[str]:
        with open_lines(self._file, 0) as plain:
            while block := plain.read(BLOCK_BYTES):
                yield self._decoder.decode(block)
            yield self._decoder.decode(b"", final=True)

    @property
    def had_returns(self) -> bool:
        """Whether a line so far ended in CR or CRLF."""
        seen = self._decoder.newlines
        return seen is not None and seen != "\n"


def first_wrong_byte(file: Path, limit: int | None = None) -> int | None:
    """The place of the first byte that is not UTF-8; None where there is none, in the first `limit` bytes or in all."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    num_read = 0
    with open_lines(file, 0) as plain:
        while block := _read(plain, limit, num_read):
            num_read += len(block)
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                return num_read - len(error.object) + error.start
        try:
            decoder.decode(b"", final=limit is None or num_read < limit)
        except UnicodeDecodeError as error:
            return num_read - len(error.object) + error.start
    return None


def _read(plain: BinaryIO, limit: int | None, num_read: int) -> bytes:
    return plain.read(BLOCK_BYTES if limit is None else min(BLOCK_BYTES, limit - num_read))


def wrong_encodings(root: Path, files: Sequence[Path], limit: int | None = None) -> list[str]:
    """Those of some files that are not UTF-8, in their first `limit` bytes or in all: each with where, in words."""
    found = ((file, first_wrong_byte(file, limit)) for file in files)
    return [f"{name_in(root, file)} ({_where(file, byte)})" for file, byte in found if byte is not None]


def _where(file: Path, byte: int) -> str:
    with open_lines(file, 0) as plain:
        looks_like = OTHER_MARKS.get(plain.read(2), "")
    return f"byte {byte:,}" + (f", looks like {looks_like}" if looks_like else "")


def encoding_error(wrong: Sequence[str]) -> str:
    """A message on files that are not UTF-8."""
    first = f"{len(wrong):,} files of the corpus are" if len(wrong) > 1 else "a file of the corpus is"
    return (
        f"{first} not UTF-8: {names_of(wrong)}. Save them as UTF-8, or set corpus.bad_encoding to 'replace', which "
        "reads each wrong byte as U+FFFD, or to 'skip', which leaves them out"
    )


def refuse_encodings(root: Path, files: Sequence[Path]) -> CorpusError:
    """The error that names all of the files that are not UTF-8; reads every byte."""
    return CorpusError(encoding_error(wrong_encodings(root, files)))
