"""`monosema export --format`: published SAEs for other libraries."""

from pathlib import Path
from typing import cast, get_args

from data.errors import ConfigError
from data.layout import StorePaths
from pipeline.formats import pushing
from pipeline.formats.exporting import ExportFormat, export_saes
from pipeline.progress import log


def export_to(
    store: StorePaths,
    run: str | None,
    sae: str | None,
    kind: str,
    target: Path,
    push: str | None = None,
    *,
    private: bool = False,
) -> None:
    """Write them and say where. push: a repository of the Hub to put them into as well.

    Raises ConfigError, FormatError or ArtifactError.
    """
    if kind not in get_args(ExportFormat):
        raise ConfigError(f"there is no format '{kind}' to export to: use one of {', '.join(get_args(ExportFormat))}")
    if push is not None:
        pushing.require_writable(push)
    named = cast(ExportFormat, kind)
    folders = export_saes(store, run, sae, named, target)
    for folder in folders:
        log(f"{kind}: {folder}")
    if push is not None:
        log(f"{kind}: {pushing.push(target, folders, named, push, private=private)}")
