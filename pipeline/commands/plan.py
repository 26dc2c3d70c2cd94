"""Tokens, disk and memory that a recipe will need, before it is run."""

from rich.console import Console
from rich.table import Table

from data.errors import PreflightError
from data.layout import RunPaths
from pipeline.preflight.check import find_problems
from pipeline.preflight.disk import TRAINING_BYTES, gigabytes, read_needs
from pipeline.preflight.model import look_at_model
from pipeline.recipe import ReadRecipe, Recipe


def print_plan(read: ReadRecipe, paths: RunPaths) -> None:
    """Print on stdout what the recipe needs. What only its fetched model or tokenized corpus would tell, is said so.

    Raises PreflightError, at the end, with what keeps it from running here.
    """
    with look_at_model(read, paths.store) as model:
        if not read.problems:
            table = Table(title=f"recipe '{read.recipe.name}'", show_header=False)
            for name, value in _rows(read.recipe, paths, model.number("hidden_size")):
                table.add_row(name, value)
            Console(highlight=False).print(table)
        if problems := find_problems(read, paths, model):
            raise PreflightError(problems)


def _rows(recipe: Recipe, paths: RunPaths, width: int | None) -> list[tuple[str, str]]:
    needs = read_needs(recipe, paths, width)
    if needs.tokens is None:
        rows = [("training tokens", "all of the corpus; known after `monosema tokenize`")]
    else:
        about, why = ("about ", " by the size of the corpus") if needs.tokens_are_estimated else ("", "")
        rows = [("training tokens", f"{about}{needs.tokens:,}{why}"), ("disk for tokens", gigabytes(needs.token_bytes))]
    if width is None:
        return [*rows, ("width of the residual stream", "known after `monosema fetch`")]
    rows.append(("width of the residual stream", f"{width:,}"))
    if needs.tokens:
        harvest, batch_size = recipe.harvest, recipe.train.batch_size
        rows += [
            ("activation rows stored", f"{needs.rows:,} ({harvest.keep_fraction:.0%} of the tokens)"),
            ("disk for activations", gigabytes(needs.activation_bytes)),
            ("memory for one shard", gigabytes(needs.activation_bytes / harvest.num_shards)),
            ("training steps", f"{needs.rows * recipe.train.epochs // batch_size:,} of {batch_size:,} tokens"),
        ]
    effects = recipe.effects
    rows.append(("effects measured", f"of at most {effects.features:,} features, at {effects.examples} examples each"))
    rows.append(("disk for autoencoders", gigabytes(needs.sae_bytes)))
    for name, parameters in zip(recipe.sae_names, needs.sae_parameters, strict=True):
        rows.append((name, f"{parameters:,} parameters, {gigabytes(parameters * TRAINING_BYTES)} in training"))
    rows.append(("memory in training, all SAEs", gigabytes(sum(needs.sae_parameters) * TRAINING_BYTES)))
    return rows
