"""Imported SAEs: their files, and whether they fit the model and the recipe. Weights are not read."""

from data.errors import MonosemaError
from data.layout import StorePaths
from pipeline.fetching.local import local_folder
from pipeline.formats.imported import find_imported, misfits
from pipeline.models.errors import ModelError
from pipeline.preflight.model import ModelFound
from pipeline.recipe import ReadRecipe
from pipeline.recipe.imports import ImportedSAE


def import_problems(read: ReadRecipe, store: StorePaths, model: ModelFound) -> list[str]:
    """What keeps the recipe's SAEs from being imported. Those of the Hub are looked at once they are fetched."""
    if not read.gives("imports"):
        return []
    width = model.number("hidden_size")
    return [problem for config in read.recipe.imports.saes for problem in _problems(config, store, width)]


def _problems(config: ImportedSAE, store: StorePaths, width: int | None) -> list[str]:
    try:
        if local_folder(config.source, config.field) is None:
            return []
        folder, foreign = find_imported(config, store)
    except (MonosemaError, ModelError) as error:
        return [str(error)]
    return misfits(config, foreign, folder, width)
