"""The comparison with neurons: how often the tokens are read within the recipe's memory, or that it is too little."""

from data.errors import ConfigError
from pipeline.neurons.passes import Sizes, plan_passes
from pipeline.preflight.model import ModelFound
from pipeline.recipe import ReadRecipe, Recipe

VALUE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


def count_passes(recipe: Recipe, per_layer: int) -> int:
    """Readings of the tokens, at most. per_layer: neurons of a layer. Raises ConfigError when memory is too little."""
    model, config = recipe.model, recipe.neurons
    num_features = min(config.features, sum(sae.num_features for sae in recipe.saes))
    positions = max(recipe.harvest.batch_tokens, recipe.tokenize.context_length)
    device = model.device.partition(":")[0]
    sizes = Sizes(num_features, model.num_layers_run * per_layer, positions, VALUE_BYTES[model.dtype], device)
    return len(plan_passes(sizes, config))


def neurons_problems(read: ReadRecipe, model: ModelFound) -> list[str]:
    """That the memory is too little for a single neuron, as a sentence; nothing where it is enough."""
    per_layer = model.number("intermediate_size")
    if per_layer is None or not read.recipe.neurons.features or read.problems:
        return []
    found = [_problem(recipe, per_layer) for recipe in read.recipe.by_place() if recipe.model.num_layers_run]
    return list(dict.fromkeys(filter(None, found)))


def _problem(recipe: Recipe, per_layer: int) -> str:
    try:
        count_passes(recipe, per_layer)
    except ConfigError as error:
        return str(error)
    return ""
