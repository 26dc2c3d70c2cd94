"""Lines of a file that may be compressed. A file that was cut off is an error, never a shorter corpus."""

import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from data.errors import CorpusError

BLOCK_BYTES = 1 << 17
PILE_WINDOW = 1 << 31
"""The Pile was compressed with long windows."""


@contextmanager
def open_lines(file: Path, offset: int) -> Iterator[BinaryIO]:
    """Lines of a .gz, .xz, .zst or plain file from byte `offset` of its plain content, which is sought or read over.

    Raises CorpusError, also while lines are read, when the file cannot be opened or decompressed.
    """
    import zstandard

    try:
        with file.open("rb") as raw:
            lines = _plain(raw, file.suffix.lower())
            if lines is raw:
                lines.seek(offset)
            else:
                _read_over(lines, offset)
            yield lines
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, zstandard.ZstdError) as error:
        raise CorpusError(f"{file} is damaged ({error}): fetch it again") from None
    except OSError as error:
        raise CorpusError(f"{file} cannot be read: {error}") from None


def _plain(raw: BinaryIO, suffix: str) -> BinaryIO:
    """The plain content of a file by what its name ends in."""
    match suffix:
        case ".gz":
            return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
        case ".xz":
            return cast(BinaryIO, lzma.LZMAFile(raw))
        case ".zst":
            return cast(BinaryIO, io.BufferedReader(_ZstdFile(raw), BLOCK_BYTES))
    return raw


def _read_over(lines: BinaryIO, num_bytes: int) -> None:
    while num_bytes > 0 and (block := lines.read(min(num_bytes, BLOCK_BYTES))):
        num_bytes -= len(block)


class _ZstdFile(io.RawIOBase):
    """Frames of zstd one after the other. The library's own reader takes a file that was cut off for a whole one."""

    def __init__(self, raw: BinaryIO) -> None:
        import zstandard

        self._raw = raw
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=PILE_WINDOW)
        self._frame = self._decompressor.decompressobj()
        self._frame_begun = False
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._plain and self._decompress_more():
            pass
        length = min(len(buffer), len(self._plain))
        buffer[:length] = self._plain[:length]
        self._plain = self._plain[length:]
        return length

    def _decompress_more(self) -> bool:
        """Decompress a block; False at the end of the file. Raises EOFError when that is in the middle of a frame."""
        block = self._frame.unused_data if self._frame.eof else b""
        if self._frame.eof:
            self._frame, self._frame_begun = self._decompressor.decompressobj(), False
        block = block or self._raw.read(BLOCK_BYTES)
        if not block:
            if self._frame_begun:
                raise EOFError("it ends in the middle of a zstd frame")
            return False
        self._frame_begun = True
        self._plain = memoryview(self._frame.decompress(block))
        return True
