"""Correlation of the sample's 4,096 features with all neurons of layers 0 to 14, against the plain forward pass.

The reading of the model, sums and best neurons of one SAE; and all that the stage does, the neurons' own examples with
it. The forward pass is that of the harvest, over the same tokens. It needs the run that `make demo` leaves, in the
store that MONOSEMA_STORE names.
"""

import math
import resource
import time
from collections.abc import Callable, Iterator

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
from pipeline.neurons.block import NeuronBlock
from pipeline.neurons.correlation import CorrelationSums
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

    def blocks() -> Iterator[NeuronBlock]:
        bos_id, sink_norm = harvest["bos_id"], harvest["sink_threshold"]
        return neuron_blocks(model, corpus, batches, neurons, bos_id=bos_id, sink_norm=sink_norm)

    def correlate() -> None:
        features, sums = reader(), CorrelationSums(len(chosen), len(neurons))
        for block in blocks():
            sums.add(features.read(block.x_ND), block.neurons_PM, block.row_N)
        sums.best(recipe.neurons.best)

    def whole_stage() -> None:
        whole = PassReader(reader(), neurons, recipe.neurons, model.dtype, "cpu")
        for block in blocks():
            whole.add(block, corpus.sequences["document"])
        whole.sums.best(recipe.neurons.best)

    def reader() -> FeatureReader:
        return FeatureReader([sae], [chosen], DTYPES[recipe.examples.dtype])

    forward()  # warm
    before = peak_memory()
    works = (correlate, whole_stage, forward)
    sums, stage, plain = (
        min(times) for times in zip(*([seconds(work) for work in works] for _ in range(ROUNDS)), strict=True)
    )
    extra, tokens = peak_memory() - before, int(corpus.sequences["length"][numbers_S].sum())
    what = f"{len(chosen):,} live features of {SAE_NAME}, {len(neurons):,} neurons, {tokens:,} tokens"
    return [
        Row("neurons: correlation", f"{sums:.1f} s", f"{plain:.1f} s forward", sums / plain, what),
        Row("neurons: with their examples", f"{stage:.1f} s", f"{plain:.1f} s forward", stage / plain, "the same"),
        Row("neurons: extra memory", f"{extra / 1e6:,.0f} MB", "2 GiB", extra / MOST_MEMORY, "peak of the process"),
    ]


def seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_memory() -> int:
    """Bytes that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
