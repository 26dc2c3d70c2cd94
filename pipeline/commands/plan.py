"""Tokens, disk and memory that a recipe will need, before it is run."""

from rich.console import Console
from rich.table import Table

from data.artifacts.corpus import TOKEN
from data.artifacts.shards import ROW
from data.errors import MonosemaError
from data.layout import RunPaths
from data.manifests import load_manifest
from pipeline.fetching.local import model_config, model_folder
from pipeline.models.errors import ModelError
from pipeline.recipe import Recipe

BYTES_OF_A_VALUE = {"bfloat16": 2, "int8": 1}
TRAINING_BYTES = 16
"""float32 weight, gradient and Adam's two moments."""


def print_plan(recipe: Recipe, paths: RunPaths) -> None:
    """Print on stdout what the recipe needs. What only its fetched model or tokenized corpus would tell, is said so."""
    width, tokens = _width(recipe, paths), _tokens(recipe, paths)
    table = Table(title=f"recipe '{recipe.name}'", show_header=False)
    for name, value in _rows(recipe, width, tokens):
        table.add_row(name, value)
    Console(highlight=False).print(table)


def _rows(recipe: Recipe, width: int | None, tokens: int | None) -> list[tuple[str, str]]:
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


def _width(recipe: Recipe, paths: RunPaths) -> int | None:
    """Of the model's residual stream, when the model is here."""
    from pipeline.fetching.local import local_model

    try:
        local = None if recipe.model.source == "sample" else local_model(recipe.model)
        folder = local or model_folder(load_manifest(paths.stage("fetch")), paths)
        return int(model_config(folder)["hidden_size"])
    except (MonosemaError, ModelError):
        return None


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
