"""Correlation of the sample's 4,096 features with all neurons of layers 0 to 14, against the plain forward pass.

Ours is all of it for one SAE: the reading of the model, sums, best neurons and the neurons' examples. The forward pass
is that of the harvest, over the same tokens. It needs the run that `make demo` leaves, in the store that MONOSEMA_STORE
names.
"""

import math
import resource
import time
from collections.abc import Callable

import numpy as np
import torch

from data.arrow import read_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import STATISTICS_FILE, read_kinds
from data.errors import MonosemaError
from data.layout import RunPaths, default_store
from data.manifests import require_stage
from pipeline.activations.batches import draw_sequences, read_batch
from pipeline.activations.neurons import batches_of, neuron_blocks
from pipeline.activations.residuals import load_language_model
from pipeline.models.language_model import DTYPES
from pipeline.models.sae import SAE
from pipeline.neurons.active import FeatureReader
from pipeline.neurons.passes import NeuronRange
from pipeline.neurons.reading import PassReader
from pipeline.recipe import Recipe, load_recipe
from tests.benchmarks.table import Row

SAE_NAME = "14-relu-4096"
MOST_MEMORY = 2 * 1024**3
ROUNDS = 2


def run() -> list[Row]:
    recipe, paths = load_recipe("sample"), default_store().run("sample")
    try:
        return measure(recipe, paths)
    except MonosemaError as error:
        return [Row("neurons", "not measured", "", math.nan, str(error))]


def measure(recipe: Recipe, paths: RunPaths) -> list[Row]:
    corpus, harvest = TokenizedCorpus(paths.stage("tokenize")), require_stage(paths, "harvest").counts
    numbers_S = draw_sequences(corpus, corpus.sequence_numbers(held_out=False), recipe.neurons.max_tokens, recipe.seed)
    batches = batches_of(corpus, numbers_S, recipe.harvest.batch_tokens)
    model = load_language_model(recipe, paths, only_until_layer=True)
    sae = SAE.load(paths.stage("train") / SAE_NAME)
    statistics = read_arrow(paths.stage("examples") / SAE_NAME / STATISTICS_FILE)
    chosen = np.flatnonzero(read_kinds(statistics, recipe.examples.rare_tokens).live_F)
    neurons = NeuronRange(0, (model.layer + 1) * model.neurons_per_layer())

    def forward() -> None:
        for numbers in batches:
            model.residuals(torch.from_numpy(read_batch(corpus, numbers, harvest["bos_id"]).tokens_BL))

    def correlate() -> None:
        reader = PassReader(
            FeatureReader([sae], [chosen], DTYPES[recipe.examples.dtype]), neurons, recipe.neurons, model.dtype, "cpu"
        )
        bos_id, sink_norm = harvest["bos_id"], harvest["sink_threshold"]
        for block in neuron_blocks(model, corpus, batches, neurons, bos_id=bos_id, sink_norm=sink_norm):
            reader.add(block.x_ND, block.neurons_NM, block.index_N, corpus.sequences["document"])
        reader.sums.best(recipe.neurons.best)

    forward()  # warm
    before = peak_memory()
    ours, plain = zip(*((seconds(correlate), seconds(forward)) for _ in range(ROUNDS)), strict=True)
    extra, tokens = peak_memory() - before, int(corpus.sequences["length"][numbers_S].sum())
    what = f"{len(chosen):,} live features of {SAE_NAME}, {len(neurons):,} neurons, {tokens:,} tokens"
    return [
        Row("neurons: time", f"{min(ours):.1f} s", f"{min(plain):.1f} s forward", min(ours) / min(plain), what),
        Row("neurons: extra memory", f"{extra / 1e6:,.0f} MB", "2 GiB", extra / MOST_MEMORY, "peak of the process"),
    ]


def seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_memory() -> int:
    """Bytes that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
