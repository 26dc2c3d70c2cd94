"""Which format a folder is in, and the SAE in it."""

from pathlib import Path
from types import ModuleType

from data.errors import FormatError
from pipeline.formats import dictionary_learning, gemma_scope, monosema, openmoss, saelens, sparsify
from pipeline.formats.foreign import Foreign
from pipeline.formats.places import check_holds_one
from pipeline.recipe.imports import FormatName

READERS: dict[FormatName, ModuleType] = {
    "saelens": saelens, "openmoss": openmoss, "sparsify": sparsify, "dictionary_learning": dictionary_learning,
    "gemma_scope": gemma_scope, "monosema": monosema,
}  # fmt: skip


def look_at_sae(folder: Path, wanted: FormatName | None = None) -> Foreign:
    """The SAE of a folder, in a format or the one that its files tell. Reads no weights. Raises FormatError."""
    check_holds_one(folder)
    found: Foreign = READERS[wanted or _format_of(folder)].look(folder)
    return found


def _format_of(folder: Path) -> FormatName:
    names = {path.relative_to(folder).as_posix() for path in (*folder.glob("*"), *folder.glob("checkpoints/*"))}
    found = [name for name, reader in READERS.items() if reader.recognises(names)]
    if {"sparsify", "monosema"} <= set(found):
        found.remove("sparsify" if monosema.is_ours(folder) else "monosema")
    if len(found) != 1:
        raise FormatError(f"{folder} may be an SAE of {' or '.join(found)}: say which with --format")
    return found[0]
