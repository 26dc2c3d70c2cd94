"""Names and addresses: no run takes those of another, nor those of the server's own pages."""

from data.errors import MonosemaError
from data.layout import OWN_ADDRESSES, RunPaths
from data.published.state import taken_addresses
from pipeline.recipe import ReadRecipe


def address_problems(read: ReadRecipe, paths: RunPaths) -> list[str]:
    """Addresses of the recipe's autoencoders that are taken."""
    model = read.recipe.model.name
    if read.gives("model.name") and model in OWN_ADDRESSES:
        return [f"model.name={model} is where pages of the server lie (/{model}): give the model another name"]
    if not read.gives("name", "model.name", "model.layer", "train.saes", "imports"):
        return []
    try:
        return [
            problem
            for recipe in read.recipe.by_place()
            for problem in taken_addresses(paths.store, recipe.name, model, recipe.sae_names)
        ]
    except MonosemaError as error:
        return [str(error)]
