"""Stage `compare`: are features easier to understand than neurons? Random ones of both, in the same way.

The model reads some text once, for features and neurons together. Labels, samples, questions and scores are then made
by the code of stages `examples`, `explain` and `score`, of that text alone; judges are those of the recipe that judge
everything, as far as stage `score` could measure them.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from data.arrow import read_arrow, write_arrow
from data.artifacts.comparison import COMPARED, COMPARED_FILE, Comparison, write_comparison
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import STATISTICS_FILE, read_kinds
from data.artifacts.scores import read_judges
from pipeline.activations.batches import draw_sequences
from pipeline.activations.held_out import draw_held_out
from pipeline.activations.neurons import neurons_obstacle
from pipeline.activations.residuals import load_language_model
from pipeline.arrays import Ints
from pipeline.comparison.drawing import (
    FEATURES_POOL,
    NEURONS_POOL,
    Drawn,
    Texts,
    draw_features,
    draw_neurons,
    draw_numbers,
)
from pipeline.comparison.files import Compared, compared_table, measure_all
from pipeline.comparison.judging import Asked, ask_all, judges_to_ask, measures_of, sample_group, values_of
from pipeline.comparison.labelling import Examples, HeldOut, Label, find_examples, label_all, shown_examples
from pipeline.comparison.reading import ChosenNeurons, read_text
from pipeline.fetching.encoders import encoder_key, ensure_encoder
from pipeline.fetching.local import model_folder
from pipeline.fetching.naming import fetched_counts
from pipeline.judges.cache import AnswerCache
from pipeline.judges.making import Materials, make_judge
from pipeline.judges.tasks import TASKS
from pipeline.labels.words import Words
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from pipeline.progress import log
from pipeline.recipe import Recipe
from pipeline.recipe.judging import HOW_ASKED
from pipeline.scores.sampling import draw_windows
from pipeline.scores.texts import WindowTexts
from pipeline.stage import Stage, Work

ABSENT_PER_EXAMPLE = 16
"""Windows that are drawn for each text without a feature that is asked for: of what is often active few lack it."""
SHOWN_EXAMPLES, SHOWN_CONTEXT = 3, 16
"""Examples that pages show of each, and tokens on either side."""


def compare(work: Work) -> dict[str, Any]:
    """Write comparison.json and compared.arrow."""
    model = load_language_model(work.recipe, work.paths, only_until_layer=True) if work.recipe.compare.n else None
    why_none = "The recipe compares none (compare.n=0)." if model is None else neurons_obstacle(model)
    if why_none or model is None:
        log(f"compare: nothing is compared. {why_none}")
        comparison, table = Comparison(why_none), COMPARED.empty_table()
    else:
        comparison, table = _Comparing(work, model).run()
    write_comparison(work.folder, comparison)
    write_arrow(work.folder / COMPARED_FILE, COMPARED, table.to_batches())
    return comparison.as_json()


class _Comparing:
    """All of it, from one reading of the model."""

    def __init__(self, work: Work, model: LanguageModel) -> None:
        self._work, self._model, self._recipe = work, model, work.recipe
        self._corpus = TokenizedCorpus(work.input_folder("tokenize"))
        self._vocabulary = Tokenizer.load(model_folder(work.inputs["fetch"], work.paths)).token_bytes(model.vocab_size)
        self._words = Words(self._vocabulary)
        config, seed = self._recipe.compare, self._recipe.seed
        self._training = draw_sequences(
            self._corpus, self._corpus.sequence_numbers(held_out=False), config.max_tokens, seed
        )
        self._held_out = draw_held_out(self._corpus, config.max_tokens, seed)

    def run(self) -> tuple[Comparison, pa.Table]:
        """The comparison, and COMPARED."""
        per_layer, num_layers = self._model.neurons_per_layer(), self._model.cut.num_layers
        config, seed = self._recipe.compare, self._recipe.seed
        pool = draw_numbers(np.arange(num_layers * per_layer), NEURONS_POOL * config.n, (seed, 11))
        texts = self._read(np.sort(pool))
        drawn = self._features(texts)
        drawn.append(draw_neurons(np.sort(pool), pool, texts, config.n, config.min_active))
        examples = [find_examples(one, texts.training, self._corpus, self._recipe.examples) for one in drawn]
        held_out = HeldOut(texts.held_out, self._held_out, self._corpus, self._words, examples)
        labels = label_all(drawn, examples, held_out, self._corpus, self._words, self._recipe.examples.bands)
        groups, names, left_out = self._judge(drawn, examples, labels, texts)
        comparison = Comparison(
            why_none="",
            num_layers=num_layers,
            num_tokens=texts.training.num_tokens,
            num_held_out=texts.held_out.num_tokens,
            groups=tuple(one.group(texts.training.num_tokens) for one in groups),
            measures=tuple(measure_all(groups, names, seed)),
            left_out=tuple(left_out),
        )
        return comparison, compared_table(groups, self._corpus, self._model.layer, per_layer)

    def _read(self, number_U: Ints) -> Texts:
        harvest, neurons = self._work.inputs["harvest"].counts, ChosenNeurons(number_U, self._model.device)
        read = [
            read_text(
                self._model, self._corpus, numbers_S, neurons, title=title, bos_id=harvest["bos_id"],
                sink_norm=harvest["sink_threshold"], batch_tokens=self._recipe.harvest.batch_tokens,
            )
            for title, numbers_S in (("compare: text", self._training), ("compare: held-out text", self._held_out))
        ]  # fmt: skip
        return Texts(*read)

    def _features(self, texts: Texts) -> list[Drawn]:
        """Features of every SAE."""
        recipe, config = self._recipe, self._recipe.compare
        drawn = []
        for place, name in enumerate(recipe.sae_names):
            statistics = read_arrow(self._work.input_folder("examples") / name / STATISTICS_FILE)
            live = np.flatnonzero(read_kinds(statistics, recipe.examples.rare_tokens).live_F)
            pool = draw_numbers(live, FEATURES_POOL * config.n, (recipe.seed, 12, place))
            sae = SAE.load(self._work.input_folder("train") / name, recipe.model.device)
            drawn.append(draw_features(name, sae, pool, texts, config.n, config.min_active))
        return drawn

    def _judge(
        self, drawn: list[Drawn], examples: list[Examples], labels: list[list[Label]], texts: Texts
    ) -> tuple[list[Compared], list[Any], list[str]]:
        """Every group with its scores, the names of the measures, and which judges were left out."""
        recipe, corpus, configs = self._recipe, self._corpus, self._recipe.score.judges
        able, left_out = judges_to_ask(configs, read_judges(self._work.input_folder("score")))
        asked, materials = [], self._materials()
        for number in able:
            judge = make_judge(configs[number], materials)
            assert not isinstance(judge, str), "stage `score` had this judge"
            asked.append(Asked(number, configs[number], judge, AnswerCache(self._work.paths.store.judgements, judge)))
        count = ABSENT_PER_EXAMPLE * recipe.compare.examples
        absent = draw_windows(corpus, count, recipe.score.context, recipe.seed, self._training)
        scored = [
            sample_group(one, some, label, texts.training, corpus, absent, recipe)
            for one, some, label in zip(drawn, examples, labels, strict=True)
        ]
        found = ask_all(asked, scored, WindowTexts(corpus, self._vocabulary), recipe, len(configs))
        names = measures_of([configs[number] for number in able])
        groups = [
            Compared(
                one, some, label,
                shown_examples(one, some, texts.training, corpus, SHOWN_CONTEXT, SHOWN_EXAMPLES),
                values_of(label, of, said, names, configs),
            )
            for one, some, label, of, said in zip(drawn, examples, labels, scored, found, strict=True)
        ]  # fmt: skip
        return groups, names, left_out

    def _materials(self) -> Materials:
        work, recipe = self._work, self._recipe
        folder = model_folder(work.inputs["fetch"], work.paths)
        named = fetched_counts(work.inputs["fetch"], recipe.model, folder)
        encoder = ensure_encoder(recipe.embed, work.paths.store)
        name, encoder_name = str(named.get("model_name") or recipe.model.name), encoder.name if encoder else ""
        return Materials(recipe, self._corpus, self._words, encoder, encoder_name, folder, name)


def _config(recipe: Recipe) -> dict[str, Any]:
    judges = [judge.model_dump(mode="json", exclude=set(HOW_ASKED)) for judge in recipe.score.judges]
    return {
        "compare": recipe.compare.model_dump(mode="json"),
        "score": {"judges": judges, "bands": recipe.score.bands, "context": recipe.score.context},
        "tasks": {task.name: task.version for task in TASKS.values()},
        "encoder": encoder_key(recipe.embed),
        "rare_tokens": recipe.examples.rare_tokens,
        "p_of": "means",
        "saes": recipe.sae_names,
    }


STAGE = Stage(
    name="compare",
    work=compare,
    config=_config,
    needs=("fetch", "tokenize", "harvest", "train", "examples", "score"),
)
run = STAGE.run
