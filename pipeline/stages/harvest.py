"""Harvest: run the language model over the training documents and store its activations at the hook, shuffled.

Left out are BOS, padding, and attention sinks: tokens whose norm is more than `sink_factor` times the median, which is
measured once, on the first batches, so that one rule holds for all rows.

Files: the shards of data/artifacts/shards.py, `order.npy` (int64: training sequence numbers in harvest
order), `left_out.npy` (ROW: the attention sinks) and `moments.npz` (mean_D, rms: root mean square norm of x -
mean, over the stored rows).

Shapes: N rows of one batch, D width.
"""

from typing import Any

import numpy as np

from data.artifacts.corpus import TokenizedCorpus
from data.errors import CorpusError
from data.hooks import hook_in_words
from pipeline.activations.batches import count_batches, training_batches
from pipeline.activations.harvest import Harvest
from pipeline.activations.residuals import ORDER_FILE, check_lengths, load_language_model
from pipeline.progress import log
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work


def _config(recipe: Recipe) -> dict[str, Any]:
    model = recipe.model.model_dump(include={"layer", "hook", "dtype", "device"})
    return {"harvest": recipe.harvest.model_dump(), "model": model}


def _work(work: Work) -> dict[str, Any]:
    corpus = TokenizedCorpus(work.input_folder("tokenize"))
    batches = training_batches(corpus, work.recipe.harvest.batch_tokens)
    if not batches:
        raise CorpusError("the corpus has no training documents: give more text, or lower corpus.held_out_fraction")
    model = load_language_model(work.recipe, work.paths, only_until_layer=True)
    check_lengths(model, corpus)
    dtype = work.recipe.model.dtype
    place = hook_in_words(model.layer, model.hook)
    log(f"harvesting {place} of {model.num_layers} on {model.device} in {dtype}: {model.implementation}")
    np.save(work.folder / ORDER_FILE, np.concatenate(batches))
    num_tokens, num_positions = count_batches(corpus, batches)
    with Harvest(work, model) as harvest:
        rate = harvest.run(corpus, batches, num_tokens)
    return harvest.finish() | {
        "padding_share": round(1 - (num_tokens + sum(map(len, batches))) / num_positions, 5),
        "tokens_per_second": round(rate, 1),
        "dtype": dtype,
        "device": str(model.device),
        "implementation": model.implementation,
    }


STAGE = Stage("harvest", _work, _config, needs=("fetch", "tokenize"))
run = STAGE.run
