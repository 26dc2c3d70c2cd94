"""Stage `evaluate`: metrics of every SAE on held-out documents, in metrics.json.

Explained variance and L0 are over all held-out tokens; cross-entropy, which runs the rest of the model once for each
SAE, over the first `max_cross_entropy_tokens` of them. Attention sinks, by the rule of the harvest, keep their own
activation and are not counted. Dead features and densities are those that `examples` saw in the training documents.

Shapes: N counted tokens of a batch, B sequences, L positions (BOS included), D width, F features.
"""

import json
from typing import Any

import numpy as np

from data.arrow import read_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import METRICS_FILE, STATISTICS_FILE
from data.errors import CorpusError
from pipeline.activations.residuals import load_language_model
from pipeline.evaluation.held_out import Evaluation
from pipeline.evaluation.metrics import density_histogram
from pipeline.models.sae import SAE
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work


def _work(work: Work) -> dict[str, Any]:
    recipe = work.recipe
    corpus = TokenizedCorpus(work.input_folder("tokenize"))
    numbers_S = corpus.sequence_numbers(held_out=True)
    if len(numbers_S) == 0:
        raise CorpusError("no document is held out for metrics: give more text, or raise corpus.held_out_fraction")
    saes = {name: SAE.load(work.input_folder("train") / name, recipe.model.device) for name in recipe.sae_names}
    evaluation = Evaluation(
        load_language_model(recipe, work.paths),
        saes,
        work.inputs["harvest"].counts["sink_threshold"],
        recipe.evaluate.max_cross_entropy_tokens,
    )
    bos_id = work.inputs["tokenize"].counts["bos_id"]
    num_tokens = evaluation.run(corpus, numbers_S, bos_id, recipe.harvest.batch_tokens)
    metrics = {name: evaluation.metrics(name) | _from_examples(work, name) for name in saes}
    (work.folder / METRICS_FILE).write_text(json.dumps(metrics, indent=1) + "\n")
    return {
        "num_held_out_tokens": num_tokens,
        "saes": {name: {key: found[key] for key in ("explained_variance", "l0")} for name, found in metrics.items()},
    }


def _from_examples(work: Work, name: str) -> dict[str, Any]:
    """Counts by `examples` with the final weights in the training documents."""
    counts = work.inputs["examples"].counts
    density_F = read_arrow(work.input_folder("examples") / name / STATISTICS_FILE)["density"].to_numpy()
    return {
        "dead_share": counts["saes"][name]["dead_share"],
        "dead_tokens": counts["num_tokens"],
        "density_histogram": density_histogram(density_F.astype(np.float32)),
    }


def _config(recipe: Recipe) -> dict[str, Any]:
    return {"evaluate": recipe.evaluate.model_dump(mode="json")}


STAGE = Stage("evaluate", _work, _config, needs=("fetch", "tokenize", "harvest", "train", "examples"))
run = STAGE.run
