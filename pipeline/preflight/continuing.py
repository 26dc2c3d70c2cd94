"""SAEs that training goes on from: whether they are what the recipe trains. Their weights are read."""

from data.errors import MonosemaError
from data.layout import RunPaths
from pipeline.formats.continuing import OF_A_RUN, find_beginning, is_here, misfits
from pipeline.models.errors import ModelError
from pipeline.preflight.model import ModelFound
from pipeline.recipe import ReadRecipe
from pipeline.recipe.training import SAEConfig


def continuing_problems(read: ReadRecipe, paths: RunPaths, model: ModelFound) -> list[str]:
    """What keeps training from going on. SAEs of the Hub are looked at once they are fetched, by stage `fetch`."""
    if not read.gives("train", "name"):
        return []
    width = model.number("hidden_size")
    return [
        problem
        for recipe in read.recipe.by_place()
        for sae in recipe.train.saes
        for problem in _problems(sae, paths.store.run(recipe.name), width)
    ]


def _problems(sae: SAEConfig, paths: RunPaths, width: int | None) -> list[str]:
    if sae.begin is None:
        return []
    if sae.begin.source.startswith(f"{OF_A_RUN}{paths.run}/"):
        return [f"train.saes.from: {sae.begin.source} is of this run itself: give the recipe another name"]
    try:
        return misfits(sae, find_beginning(sae.begin, paths.store), width) if is_here(sae.begin) else []
    except (MonosemaError, ModelError) as error:
        return [str(error)]
