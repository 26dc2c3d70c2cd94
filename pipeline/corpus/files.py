"""The files that a corpus on disk is made of."""

import os
from collections.abc import Sequence
from pathlib import Path

from data.errors import CorpusError


def find_files(path: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files below a folder with one of the suffixes, sorted, hidden ones left out; or the file itself.

    Raises CorpusError when there are none.
    """
    if not path.exists():
        raise CorpusError(f"{path} does not exist: set corpus.path to the folder that holds the corpus")
    if path.is_file():
        if not path.name.endswith(tuple(suffixes)):
            raise CorpusError(f"{path} does not end in {' or '.join(suffixes)}: set corpus.source to what it is")
        return [path]
    found = [p for p in path.rglob("*") if p.name.endswith(tuple(suffixes)) and p.is_file()]
    files = sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(path).parts))
    if not files:
        raise CorpusError(
            f"{path} holds no file that ends in {' or '.join(suffixes)}: put some there, or set corpus.path"
        )
    return files


def name_in(path: Path, file: Path) -> str:
    """A file's name inside the corpus: the same wherever the corpus lies. Bytes that are not UTF-8 stand as \\xe9."""
    name = file.name if file == path else file.relative_to(path).as_posix()
    return os.fsencode(name).decode("utf-8", "backslashreplace")
