"""Harvest: run the language model over the training documents and store its activations at the hook, shuffled.

Left out are BOS, padding, and attention sinks: tokens whose norm is more than `sink_factor` times the median, which is
measured once, on the first batches, so that one rule holds for all rows. Runs that read other hooks of the same model
on the same corpus are harvested together, by one reading (`STAGE.run_together`); each has an artifact of its own, the
same as if it were alone.

Files: the shards of data/artifacts/shards.py, `order.npy` (int64: training sequence numbers in harvest
order), `left_out.npy` (ROW: the attention sinks) and `moments.npz` (mean_D, rms: root mean square norm of x -
mean, over the stored rows).

Shapes: N rows of one batch, D width.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from data.artifacts.corpus import TokenizedCorpus
from data.errors import CorpusError
from data.hooks import hook_in_words
from pipeline.activations.batches import count_batches, training_batches
from pipeline.activations.harvest import Harvest, harvest_corpus
from pipeline.activations.residuals import ORDER_FILE, check_lengths, load_language_model, run_at_hooks
from pipeline.models.several import SeveralHooks
from pipeline.progress import log
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work


def _config(recipe: Recipe) -> dict[str, Any]:
    model = recipe.model.model_dump(include={"layer", "hook", "dtype", "device"})
    return {"harvest": recipe.harvest.model_dump(), "model": model}


def _work(work: Work) -> dict[str, Any]:
    (counts,) = _work_together([work])
    return counts


def _work_together(works: Sequence[Work]) -> list[dict[str, Any]]:
    """The same for runs that read other hooks of the same model and corpus: the model reads the corpus once."""
    recipe, paths = works[0].recipe, works[0].paths
    corpus = TokenizedCorpus(works[0].input_folder("tokenize"))
    batches = training_batches(corpus, recipe.harvest.batch_tokens)
    if not batches:
        raise CorpusError("the corpus has no training documents: give more text, or lower corpus.held_out_fraction")
    places = [work.recipe.model.place for work in works]
    deepest = max((work.recipe for work in works), key=lambda one: (one.model.place.num_layers, one.model.layer))
    model = load_language_model(deepest, paths, only_until_layer=True)
    check_lengths(model, corpus)
    hooks, dtype = SeveralHooks(model, places), recipe.model.dtype
    named = "; ".join(hook_in_words(*place) for place in places)
    log(f"harvesting {named} of {model.num_layers} on {model.device} in {dtype}: {model.implementation}")
    for work in works:
        np.save(work.folder / ORDER_FILE, np.concatenate(batches))
    num_tokens, num_positions = count_batches(corpus, batches)
    with ExitStack() as stack:
        harvests = [stack.enter_context(Harvest(work, model.width)) for work in works]
        read = partial(run_at_hooks, model, hooks, corpus, bos_id=harvests[0].bos_id)
        rate = harvest_corpus(harvests, read, batches, num_tokens)
    told = {
        "padding_share": round(1 - (num_tokens + sum(map(len, batches))) / num_positions, 5),
        "tokens_per_second": round(rate, 1),
        "dtype": dtype,
        "device": str(model.device),
        "implementation": model.implementation,
    }
    together = {"together_with": [work.paths.run for work in works]} if len(works) > 1 else {}
    return [harvest.finish() | told | together for harvest in harvests]


STAGE = Stage("harvest", _work, _config, needs=("fetch", "tokenize"), together=_work_together)
run = STAGE.run
