"""Stage `neurons`: which of the model's MLP neurons each feature goes with, and what those neurons are active on.

Tables: neurons.arrow for every SAE, neuron_examples.arrow for all. Where nothing is correlated, for the recipe asks for
none or the model's layers have no such neurons, they are empty and the counts say why.
"""

from typing import Any, NamedTuple

import numpy as np

from data.arrow import read_arrow, write_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import STATISTICS_FILE
from data.artifacts.neurons import NEURON_EXAMPLES, NEURON_EXAMPLES_FILE, NEURONS, NEURONS_FILE, summarize_r
from pipeline.activations.batches import draw_sequences
from pipeline.activations.neurons import batches_of, count_positions, neuron_blocks, neurons_obstacle
from pipeline.activations.residuals import load_language_model
from pipeline.arrays import Ints
from pipeline.influence.effect_cases import choose_features
from pipeline.models.language_model import DTYPES, LanguageModel
from pipeline.models.sae import SAE
from pipeline.neurons.active import FeatureReader
from pipeline.neurons.correlation import BestNeurons
from pipeline.neurons.files import (
    Correlated,
    ExampleRows,
    Measured,
    example_rows,
    needed_neurons,
    neurons_table,
)
from pipeline.neurons.passes import NeuronRange, Sizes, plan_passes
from pipeline.neurons.reading import PassReader
from pipeline.progress import log, track
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work

NO_EXAMPLES = ExampleRows(*(np.zeros(0, np.int64) for _ in range(3)))


class _Result(NamedTuple):
    found: Correlated
    measured: list[Measured]
    per_layer: int
    counts: dict[str, int]


def _work(work: Work) -> dict[str, Any]:
    recipe, config = work.recipe, work.recipe.neurons
    statistics = [read_arrow(work.input_folder("examples") / name / STATISTICS_FILE) for name in recipe.sae_names]
    choices = choose_features(statistics, [()] * len(statistics), recipe.examples.rare_tokens, config.features)
    chosen = [np.flatnonzero(choice.chosen_F) for choice in choices]
    model = load_language_model(recipe, work.paths, only_until_layer=True) if config.features else None
    why_none = "The recipe correlates none (neurons.features=0)." if model is None else neurons_obstacle(model)
    result = None
    if why_none or model is None:
        log(f"neurons: nothing is correlated. {why_none}")
    elif any(map(len, chosen)):
        result = _Correlation(work, model, chosen).run()
    saes = _write(work, [len(table) for table in statistics], chosen, result)
    for name, choice in zip(recipe.sae_names, choices, strict=True):
        saes[name]["num_live"] = int(choice.live_F.sum())
    return {"why_none": why_none, **(result.counts if result else {}), "saes": saes}


class _Correlation:
    """One run of the model over the tokens for every pass."""

    def __init__(self, work: Work, model: LanguageModel, chosen: list[Ints]) -> None:
        self._work, self._model, self._chosen, self._config = work, model, chosen, work.recipe.neurons
        self._corpus = TokenizedCorpus(work.input_folder("tokenize"))
        recipe = work.recipe
        training_S = self._corpus.sequence_numbers(held_out=False)
        numbers_S = draw_sequences(self._corpus, training_S, self._config.max_tokens, recipe.seed)
        self._batches = batches_of(self._corpus, numbers_S, recipe.harvest.batch_tokens)
        saes = [SAE.load(work.input_folder("train") / name, recipe.model.device) for name in recipe.sae_names]
        self._features = FeatureReader(saes, chosen, DTYPES[recipe.examples.dtype])
        self._num_neurons = model.cut.num_layers * model.neurons_per_layer()

    def run(self) -> _Result:
        positions = count_positions(self._corpus, self._batches)
        model, num_features = self._model, self._features.num_features
        sizes = Sizes(num_features, self._num_neurons, positions, model.dtype.itemsize, model.device.type)
        passes = plan_passes(sizes, self._config)
        if len(passes) > 1:
            log(f"neurons: the tokens are read {len(passes)} times, for neurons.memory_gb={self._config.memory_gb:g}")
        best: BestNeurons | None = None
        measured: list[Measured] = []
        num_tokens = sum(int(self._corpus.sequences["length"][batch].sum()) for batch in self._batches)
        with track("neurons", num_tokens * len(passes)) as progress:
            for neurons in passes:
                reader = self._read(neurons, progress.advance)
                found = reader.sums.best(self._config.best, neurons.start)
                best = found if best is None else best.merge(found, self._config.best)
                measured.append((neurons, reader.examples))
        assert best is not None, "there is a pass"
        return self._result(best, measured, reader)

    def _read(self, neurons: NeuronRange, advance: Any) -> PassReader:
        reader = PassReader(self._features, neurons, self._config, self._model.dtype, self._model.device)
        harvest = self._work.inputs["harvest"].counts
        blocks = neuron_blocks(
            self._model,
            self._corpus,
            self._batches,
            neurons,
            bos_id=harvest["bos_id"],
            sink_norm=harvest["sink_threshold"],
        )
        for block in blocks:
            reader.add(block, self._corpus.sequences["document"])
            advance(len(block.index_N))
        return reader

    def _result(self, best: BestNeurons, measured: list[Measured], reader: PassReader) -> _Result:
        num_active_R = reader.sums.num_active_F.cpu().numpy()
        found = Correlated(
            num_active_R,
            num_active_R >= self._config.min_active,
            best.neuron_FK.cpu().numpy(),
            best.r_FK.cpu().numpy(),
        )
        counts = {
            "num_tokens": reader.sums.num_tokens,
            "num_sequences": sum(map(len, self._batches)),
            "num_layers": self._model.cut.num_layers,
            "num_neurons": self._num_neurons,
            "num_passes": len(measured),
        }
        return _Result(found, measured, self._model.neurons_per_layer(), counts)


def _write(work: Work, sizes: list[int], chosen: list[Ints], result: _Result | None) -> dict[str, dict[str, Any]]:
    """Write the tables; returns the counts of every SAE."""
    config, rows, batches = work.recipe.neurons, NO_EXAMPLES, iter(())
    if result:
        keys = needed_neurons(result.found, config.shown)
        corpus = TokenizedCorpus(work.input_folder("tokenize"))
        rows, batches = example_rows(keys, result.measured, corpus, result.per_layer, config.context)
    write_arrow(work.folder / NEURON_EXAMPLES_FILE, NEURON_EXAMPLES, batches)
    saes, first = {}, 0
    for name, size, index in zip(work.recipe.sae_names, sizes, chosen, strict=True):
        folder = work.folder / name
        folder.mkdir(exist_ok=True)
        index = index if result else index[:0]
        found = result.found.some(slice(first, first + len(index))) if result else Correlated.nothing()
        table = neurons_table(size, index, found, result.per_layer if result else 1, config.shown, rows)
        write_arrow(folder / NEURONS_FILE, NEURONS, table.to_batches())
        saes[name] = summarize_r(table["highest_r"].drop_null().to_numpy())
        first += len(index)
    return saes


def _config(recipe: Recipe) -> dict[str, Any]:
    return {
        "neurons": recipe.neurons.model_dump(mode="json", exclude={"memory_gb"}),
        "rare_tokens": recipe.examples.rare_tokens,
        "saes": recipe.sae_names,
    }


STAGE = Stage("neurons", _work, _config, needs=("fetch", "tokenize", "harvest", "train", "examples"))
run = STAGE.run
