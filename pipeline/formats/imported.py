"""An SAE that a recipe imports: found, compared with what the recipe says of it, and what it lacks."""

from pathlib import Path

from data.errors import FormatError
from data.layout import StorePaths
from pipeline.formats.foreign import Foreign
from pipeline.formats.places import ensure_sae
from pipeline.formats.reading import look_at_sae
from pipeline.recipe.imports import ImportedSAE, SAESource


def find_imported(config: SAESource, store: StorePaths) -> tuple[Path, Foreign]:
    """The SAE of a recipe, fetched unless it is there. Raises FormatError, ConfigError or ModelError."""
    folder = ensure_sae(config, store)
    return folder, look_at_sae(folder, config.format).normalised(config.normalise)


def misfits(config: ImportedSAE, foreign: Foreign, folder: Path, width: int | None) -> list[str]:
    """What the recipe or the model says otherwise than the SAE's files. width: of the residual stream, where known."""
    said = {
        "architecture": (config.architecture, foreign.architecture),
        "num_features": (config.num_features, foreign.num_features),
        "k": (config.k, foreign.k),
    }
    problems = [
        f"imports.saes: {name}={mine} is said of {folder}, its files say {theirs}: correct the recipe"
        for name, (mine, theirs) in said.items()
        if mine != theirs
    ]
    if width is not None and foreign.width != width:
        problems.append(
            f"{folder} reads activations of width {foreign.width:,}, the model's residual stream has {width:,}: it is "
            f"of another model{_named(foreign)}"
        )
    return problems


def require_fit(config: ImportedSAE, foreign: Foreign, folder: Path, width: int) -> None:
    """Raise FormatError where they differ."""
    if problems := misfits(config, foreign, folder, width):
        raise FormatError("; ".join(problems))


def _named(foreign: Foreign) -> str:
    return f" (its configuration names {foreign.provenance.model})" if foreign.provenance.model else ""
