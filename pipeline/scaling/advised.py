"""The recipe that trains what is advised."""

import math
from pathlib import Path
from typing import Any

from data.artifacts.scaling import GridReport, ScalingReport
from data.artifacts.scaling_advice import Advice
from data.errors import ConfigError
from pipeline.recipe import Recipe, make_recipe
from pipeline.recipe.writing import to_toml

MARGIN = 1.001
"""Tokens of attention sinks are not trained on: so many more are tokenized."""


def write_advised_recipe(
    path: Path, recipe: Recipe, report: ScalingReport, grid: GridReport, advice: Advice, corpus_tokens: int | None
) -> int:
    """Write a recipe like `recipe` with the one autoencoder that is advised; returns how often it reads the corpus.

    corpus_tokens: training tokens that there are; None where that is not known. Raises ConfigError when there is a
    file already.
    """
    if path.exists():
        raise ConfigError(f"{path} is there already: give another path to --write-recipe")
    raw = advised_recipe(recipe, report, grid, advice, corpus_tokens)
    make_recipe(raw)
    path.write_text(
        f"# {advice.num_features:,} features on {advice.num_tokens:,} tokens, {advice.flops:.3g} FLOPs: by the scaling "
        f"laws of recipe '{recipe.name}',\n# at {advice.extrapolation:.3g} times the compute of its largest cell.\n"
        + to_toml(raw),
        encoding="utf-8",
    )
    return int(raw["train"]["epochs"])


def advised_recipe(
    recipe: Recipe, report: ScalingReport, grid: GridReport, advice: Advice, corpus_tokens: int | None
) -> dict[str, Any]:
    """The same as a dictionary. More tokens than there are become several readings."""
    raw = recipe.model_dump(mode="json", exclude_defaults=True, exclude={"scale", "train", "imports"})
    epochs = 1 if corpus_tokens is None else max(1, math.ceil(advice.num_tokens / corpus_tokens))
    max_tokens = None if epochs > 1 else math.ceil(advice.num_tokens * MARGIN)
    num_steps = max(1, advice.num_tokens // report.batch_size)
    rate = advice.learning_rate or grid.cells[-1].learning_rate
    objective = {"k": grid.k} if grid.architecture == "topk" else {"l1_coefficient": grid.l1_coefficient}
    return raw | {
        "name": f"{recipe.name}-{grid.architecture}-{advice.num_features}"[:64].strip("-"),
        "tokenize": raw.get("tokenize", {}) | {"max_tokens": max_tokens},
        "train": {
            "batch_size": report.batch_size,
            "epochs": epochs,
            "warmup_fraction": min(1.0, float(f"{report.warmup_steps / num_steps:.3g}")),
            "decay_fraction": report.decay_fraction,
            "saes": [
                {
                    "architecture": grid.architecture,
                    "num_features": advice.num_features,
                    "learning_rate": float(f"{rate:.3g}"),
                    **objective,
                }
            ],
        },
    }
