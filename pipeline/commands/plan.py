"""Tokens, disk and memory that a recipe will need, before it is run."""

from rich.console import Console
from rich.table import Table

from data.errors import ConfigError, PreflightError
from data.hooks import hook_in_words
from data.layout import RunPaths
from pipeline.completeness.lists import AllConcepts, load_lists
from pipeline.judges.estimate import estimate
from pipeline.preflight.check import find_problems
from pipeline.preflight.device import device_problems
from pipeline.preflight.disk import TRAINING_BYTES, gigabytes, read_needs
from pipeline.preflight.model import ModelFound, look_at_model
from pipeline.preflight.neurons import count_passes
from pipeline.preflight.scaling import hours_problems, step_rate
from pipeline.recipe import ReadRecipe, Recipe
from pipeline.recipe.influence import StrengthsConfig
from pipeline.recipe.judging import JudgeConfig
from pipeline.scaling.room import all_bytes, grid_flops, grid_hours


def print_plan(read: ReadRecipe, paths: RunPaths, *, asks_judges: bool = False) -> None:
    """Print on stdout what the recipe needs. What only its fetched model or tokenized corpus would tell, is said so.

    asks_judges: a run would ask judges behind servers, so each is tried by one small question.
    Raises PreflightError, at the end, with what keeps it from running here.
    """
    with look_at_model(read, paths.store) as model:
        for recipe in read.recipe.by_place() if not read.problems else ():
            table = Table(title=f"recipe '{recipe.name}'", show_header=False)
            for name, value in _rows(recipe, paths.store.run(recipe.name), model):
                table.add_row(name, value)
            Console(highlight=False).print(table)
        problems = find_problems(read, paths, model, asks_judges=asks_judges)
        if problems := problems or hours_problems(read, paths, model):
            raise PreflightError(problems)


def _rows(recipe: Recipe, paths: RunPaths, model: ModelFound) -> list[tuple[str, str]]:
    width = model.number("hidden_size")
    needs = read_needs(recipe, paths, width)
    if needs.tokens is None:
        rows = [("training tokens", "all of the corpus; known after `monosema tokenize`")]
    else:
        about, why = ("about ", " by the size of the corpus") if needs.tokens_are_estimated else ("", "")
        rows = [("training tokens", f"{about}{needs.tokens:,}{why}"), ("disk for tokens", gigabytes(needs.token_bytes))]
    rows += [judge_row(recipe, judge) for judge in recipe.score.judges if recipe.score.features]
    if width is None:
        return [*rows, ("width of the residual stream", "known after `monosema fetch`")]
    rows.append(("width of the residual stream", f"{width:,}"))
    rows.append(("read at", hook_in_words(recipe.model.layer, recipe.model.hook)))
    rows += [("model run by", model.run_by)] if model.run_by else []
    if needs.tokens:
        harvest, batch_size = recipe.harvest, recipe.train.batch_size
        rows += [
            ("activation rows stored", f"{needs.rows:,} ({harvest.keep_fraction:.0%} of the tokens)"),
            ("disk for activations", gigabytes(needs.activation_bytes)),
            ("memory for one shard", gigabytes(needs.activation_bytes / harvest.num_shards)),
        ]
        if recipe.train.saes:
            steps = needs.rows * recipe.train.epochs // batch_size
            rows.append(("training steps", f"{steps:,} of {batch_size:,} tokens"))
    effects = recipe.effects
    rows.append(("effects measured", f"of at most {effects.features:,} features, at {effects.examples} examples each"))
    rows.append(("strengths", strengths_text(recipe.strengths)))
    rows.append(("features against neurons", neurons_text(recipe, model.number("intermediate_size"))))
    rows.append(("features and neurons compared", compared_text(recipe)))
    rows.append(("concepts looked for", concepts_text(recipe)))
    rows.append(("scaling laws", scaling_text(recipe, width)))
    rows.append(("disk for autoencoders", gigabytes(needs.sae_bytes)))
    if recipe.imports.saes:
        sizes = zip(recipe.sae_names, needs.sae_parameters, strict=True)
        return rows + [(name, f"{parameters:,} parameters, imported") for name, parameters in sizes]
    for name, parameters in zip(recipe.sae_names, needs.sae_parameters, strict=True):
        rows.append((name, f"{parameters:,} parameters, {gigabytes(parameters * TRAINING_BYTES)} in training"))
    rows.append(("memory in training, all SAEs", gigabytes(sum(needs.sae_parameters) * TRAINING_BYTES)))
    return rows


def concepts_text(recipe: Recipe) -> str:
    """How many concepts, and prompts that are read for them."""
    try:
        found = AllConcepts.of([one.content for one in load_lists(recipe.completeness.lists)])
    except ConfigError as error:
        return str(error)
    return f"{len(found.concepts):,}, in {len(found.prompts):,} prompts" if found.concepts else "none"


def judge_row(recipe: Recipe, judge: JudgeConfig) -> tuple[str, str]:
    """What one judge is asked at most; of a model, the tokens for that; of a served one, what they cost."""
    most = estimate(recipe, judge)
    said = f"at most {most.questions:,} questions"
    said += f", {most.proposals:,} of them for labels that it writes" if most.proposals else ""
    if judge.kind in ("local", "served"):
        said += f", {most.tokens_in:,} tokens to read and {most.tokens_out:,} to write"
    if judge.kind == "served":
        priced = judge.input_price or judge.output_price
        said += f", {most.cost:,.2f} by its prices" if priced else "; set input_price and output_price for its cost"
        said += f", stopped at {judge.max_cost:,.2f}" if judge.max_cost is not None else ""
    return f"judge '{judge.title}'", said


def strengths_text(config: StrengthsConfig) -> str:
    """How many features are held at how many strengths, and how many texts are written and judged at most."""
    if not config.features:
        return "none (strengths.features=0)"
    num_openings = len(config.openings)
    written = config.features * len(config.text_strengths) * num_openings
    said = f"{config.features:,} features at {len(config.strengths)} strengths after {num_openings} openings"
    if not written:
        return f"{said}, no texts"
    judged = written + config.features * num_openings
    return f"{said}, at most {written:,} texts of {config.new_tokens} tokens and {judged:,} questions to one judge"


def compared_text(recipe: Recipe) -> str:
    """How many random features are compared with random neurons, and the tokens that the model reads for it."""
    config = recipe.compare
    if not config.n:
        return "none (compare.n=0)"
    return f"{config.n:,} random ones of each SAE and of the neurons, on up to {2 * config.max_tokens:,} tokens"


def scaling_text(recipe: Recipe, width: int) -> str:
    """How many cells the grids have, their operations, the hours here and the memory of all side by side."""
    config = recipe.scale
    if not config.grids:
        return "none (scale.grids)"
    swept = sum(len(grid.sweep_features) * len(grid.learning_rates) for grid in config.grids)
    cells = swept + sum(len(grid.num_features) * len(grid.num_tokens) for grid in config.grids)
    flops = sum(grid_flops(config, grid, width) for grid in config.grids)
    said = f"{cells:,} cells, {flops:.2g} FLOPs, {gigabytes(all_bytes(config, width))} with all sizes side by side"
    if device_problems(recipe.model.device):
        return said
    hours = grid_hours(config, width, step_rate(recipe, width))
    spent = f"{hours:,.1f} hours" if hours >= 2 else f"{60 * hours:,.0f} minutes" if hours > 1 / 60 else "a minute"
    return f"{said}, about {spent} here at the rate of its first steps (at most scale.max_hours={config.max_hours:g})"


def neurons_text(recipe: Recipe, per_layer: int | None) -> str:
    """How many features are correlated with how many neurons, on how many tokens, and how often these are read.

    per_layer: neurons of a layer, None where that is not known.
    """
    config, num_features = recipe.neurons, sum(sae.num_features for sae in recipe.saes)
    if not config.features:
        return "none (neurons.features=0)"
    if not recipe.model.num_layers_run:
        return "none (no layer is run before the hook)"
    chosen = min(config.features, num_features)
    features = f"{chosen:,} of {num_features:,} features, the most active," if chosen < num_features else "all features"
    if per_layer is None:
        return f"{features} on {config.max_tokens:,} tokens"
    try:
        passes = count_passes(recipe, per_layer)
    except ConfigError as error:
        return str(error)
    times = "once" if passes == 1 else f"{passes:,} times, for neurons.memory_gb={config.memory_gb:g}"
    num_neurons = recipe.model.num_layers_run * per_layer
    return f"{features} with {num_neurons:,} neurons, on {config.max_tokens:,} tokens read {times}"
