"""Tokens, disk and memory that a recipe will need, before it is run."""

from typing import Any

from rich.console import Console
from rich.table import Table

from data.artifacts.corpus import TOKEN
from data.artifacts.shards import ROW
from data.errors import ConfigError, MonosemaError
from data.layout import RunPaths
from data.manifests import load_manifest
from pipeline.fetching.local import model_config, model_folder
from pipeline.models.errors import ModelError
from pipeline.neurons.passes import Sizes, plan_passes
from pipeline.recipe import Recipe

BYTES_OF_A_VALUE = {"bfloat16": 2, "int8": 1}
VALUE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
TRAINING_BYTES = 16
"""float32 weight, gradient and Adam's two moments."""


def print_plan(recipe: Recipe, paths: RunPaths) -> None:
    """Print on stdout what the recipe needs. What only its fetched model or tokenized corpus would tell, is said so."""
    model, tokens = _model(recipe, paths), _tokens(recipe, paths)
    table = Table(title=f"recipe '{recipe.name}'", show_header=False)
    for name, value in _rows(recipe, model, tokens):
        table.add_row(name, value)
    Console(highlight=False).print(table)


def _rows(recipe: Recipe, model: dict[str, Any], tokens: int | None) -> list[tuple[str, str]]:
    width: int | None = model.get("hidden_size")
    rows = [("training tokens", f"{tokens:,}" if tokens else "all of the corpus; known after `monosema tokenize`")]
    if tokens:
        rows.append(("disk for tokens", gigabytes(tokens * TOKEN.itemsize)))
    if width is None:
        return [*rows, ("width of the residual stream", "known after `monosema fetch`")]
    rows.append(("width of the residual stream", f"{width:,}"))
    row_bytes = width * BYTES_OF_A_VALUE[recipe.harvest.storage] + ROW.itemsize
    if tokens:
        stored = round(tokens * recipe.harvest.keep_fraction)
        rows.append(("activation rows stored", f"{stored:,} ({recipe.harvest.keep_fraction:.0%} of the tokens)"))
        rows.append(("disk for activations", gigabytes(stored * row_bytes)))
        rows.append(("memory for one shard", gigabytes(stored * row_bytes / recipe.harvest.num_shards)))
        rows.append(("training steps", f"{stored // recipe.train.batch_size:,} of {recipe.train.batch_size:,} tokens"))
    effects = recipe.effects
    rows.append(("effects measured", f"of at most {effects.features:,} features, at {effects.examples} examples each"))
    rows.append(("features against neurons", neurons_text(recipe, model)))
    total = 0
    for sae in recipe.train.saes:
        parameters = 2 * width * sae.num_features + 2 * sae.num_features + width
        total += parameters
        rows.append(
            (
                recipe.sae_name(sae),
                f"{parameters:,} parameters, {gigabytes(parameters * TRAINING_BYTES)} in training",
            )
        )
    rows.append(("memory in training, all SAEs", gigabytes(total * TRAINING_BYTES)))
    return rows


def neurons_text(recipe: Recipe, model: dict[str, Any]) -> str:
    """How many features are correlated with how many neurons, on how many tokens, and how often these are read."""
    config, num_features = recipe.neurons, sum(sae.num_features for sae in recipe.train.saes)
    if not config.features:
        return "none (neurons.features=0)"
    chosen = min(config.features, num_features)
    features = f"{chosen:,} of {num_features:,} features, the most active," if chosen < num_features else "all features"
    if "intermediate_size" not in model:
        return f"{features} on {config.max_tokens:,} tokens"
    num_neurons = (recipe.model.layer + 1) * int(model["intermediate_size"])
    positions = max(recipe.harvest.batch_tokens, recipe.tokenize.context_length)
    value_bytes, device = VALUE_BYTES[recipe.model.dtype], recipe.model.device.partition(":")[0]
    try:
        passes = len(plan_passes(Sizes(chosen, num_neurons, positions, value_bytes, device), config))
    except ConfigError as error:
        return str(error)
    times = "once" if passes == 1 else f"{passes:,} times, for neurons.memory_gb={config.memory_gb:g}"
    return f"{features} with {num_neurons:,} neurons, on {config.max_tokens:,} tokens read {times}"


def _model(recipe: Recipe, paths: RunPaths) -> dict[str, Any]:
    """The model's configuration, when the model is here; else nothing."""
    from pipeline.fetching.local import local_model

    try:
        local = None if recipe.model.source == "sample" else local_model(recipe.model)
        folder = local or model_folder(load_manifest(paths.stage("fetch")), paths)
        return model_config(folder)
    except (MonosemaError, ModelError):
        return {}


def _tokens(recipe: Recipe, paths: RunPaths) -> int | None:
    """Training tokens: as tokenized by this recipe, or its limit."""
    try:
        manifest = load_manifest(paths.stage("tokenize"))
    except MonosemaError:
        return recipe.tokenize.max_tokens
    same = manifest.config["tokenize"] == recipe.tokenize.model_dump(mode="json")
    return int(manifest.counts["num_tokens"]) if same else recipe.tokenize.max_tokens


def gigabytes(number: float) -> str:
    """In GB of 10^9 bytes, MB below 1."""
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.1f} MB"
