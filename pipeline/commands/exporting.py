"""`monosema export --format`: published SAEs for other libraries."""

from pathlib import Path
from typing import cast, get_args

from data.errors import ConfigError
from data.layout import StorePaths
from pipeline.formats.exporting import ExportFormat, export_saes
from pipeline.progress import log


def export_to(store: StorePaths, run: str | None, sae: str | None, kind: str, target: Path) -> None:
    """Write them and say where. Raises ConfigError, FormatError or ArtifactError."""
    if kind not in get_args(ExportFormat):
        raise ConfigError(f"there is no format '{kind}' to export to: use one of {', '.join(get_args(ExportFormat))}")
    for folder in export_saes(store, run, sae, cast(ExportFormat, kind), target):
        log(f"{kind}: {folder}")
