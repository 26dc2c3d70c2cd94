"""The files that a corpus on disk is made of, and what of a folder is passed over."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import CorpusError

COMPRESSIONS = (".gz", ".xz", ".zst")
KINDS_NAMED = 4
"""Endings of files passed over that are named."""


@dataclass(frozen=True)
class FileKinds:
    """Endings of the names of a source's files, in any case."""

    endings: tuple[str, ...]
    compressed: bool = True
    """Whether the same with one of COMPRESSIONS behind is read, too."""

    def include(self, name: str) -> bool:
        """Whether a file of this name is one."""
        return plain_name(name, compressed=self.compressed).endswith(self.endings)

    def __str__(self) -> str:
        return " or ".join(self.endings) + (f" (or one of these with {', '.join(COMPRESSIONS)})" * self.compressed)


@dataclass(frozen=True)
class FoundFiles:
    """The files of a corpus, sorted, and how many others its folder has, by what they are."""

    files: list[Path]
    passed_over: dict[str, int]

    def describe_others(self) -> str:
        """What was passed over, for people; "" where nothing was."""
        named = ", ".join(f"{number:,} {what}" for what, number in self.passed_over.items())
        return f"passed over in the corpus's folder: {named}" if named else ""


def plain_name(name: str, *, compressed: bool = True) -> str:
    """A file's name in lower case, without the ending of its compression."""
    name = name.lower()
    return next((name.removesuffix(end) for end in COMPRESSIONS if compressed and name.endswith(end)), name)


def find_files(path: Path, kinds: FileKinds) -> FoundFiles:
    """The files of some kinds below a folder, linked folders too; or the file itself.

    Raises CorpusError when there are none, or a folder cannot be read.
    """
    if not path.exists():
        raise CorpusError(f"{path} does not exist: set corpus.path to the folder that holds the corpus")
    if path.is_file():
        if not kinds.include(path.name):
            raise CorpusError(f"{path} does not end in {kinds}: set corpus.source to what it is")
        return FoundFiles([path], {})
    files, others, endings = [], Counter[str](), Counter[str]()
    for file, why in _every_file(path):
        if why:
            others[why] += 1
        elif kinds.include(file.name):
            files.append(file)
        else:
            endings[file.suffix or "without an ending"] += 1
    if endings:
        named = ", ".join(ending for ending, _ in endings.most_common(KINDS_NAMED))
        others[f"of other kinds ({named}{', ...' if len(endings) > KINDS_NAMED else ''})"] = endings.total()
    found = FoundFiles(sorted(files), dict(others))
    if not files:
        told = found.describe_others()
        raise CorpusError(
            f"{path} holds no file that ends in {kinds}{f' ({told})' if told else ''}: put some there, or set "
            "corpus.path or corpus.source"
        )
    return found


def name_in(path: Path, file: Path) -> str:
    """A file's name inside the corpus: the same wherever the corpus lies. Bytes that are not UTF-8 stand as \\xe9."""
    name = file.name if file == path else file.relative_to(path).as_posix()
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _every_file(root: Path) -> Iterator[tuple[Path, str]]:
    """Every file below a folder with the reason why it is passed over, "" for none; hidden folders count as one.

    A folder is read once, however many links lead to it, and rather by its own name than by a link's.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [root]
    for top in waiting:
        for name, folders, files in os.walk(top, onerror=_refuse):
            folder = Path(name)
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                yield folder, "linked folders that were read already"
                continue
            seen.add((status.st_dev, status.st_ino))
            yield from ((folder / one, "hidden folders") for one in folders if one.startswith("."))
            folders[:] = sorted(one for one in folders if not one.startswith("."))
            waiting += [folder / one for one in folders if (folder / one).is_symlink()]
            yield from ((folder / one, _why_not(folder / one)) for one in files)


def _why_not(file: Path) -> str:
    if file.name.startswith("."):
        return "hidden files"
    if not file.exists():
        return "broken links"
    return "" if file.is_file() else "that are no files"


def _refuse(error: OSError) -> None:
    raise CorpusError(f"{error.filename} cannot be read: {error.strerror}") from None


def names_of(files: Sequence[str], limit: int = 20) -> str:
    """Some names, and how many more there are."""
    more = len(files) - limit
    return ", ".join(files[:limit]) + (f", and {more:,} more" if more > 0 else "")
