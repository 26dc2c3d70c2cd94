"""Stage `effects`: what features change in the model's predictions, by exact ablation at some of their examples.

Two tables for every SAE, effects.arrow and readings.arrow. Where nothing is measured, for the recipe asks for none or
the model is not of the kind it can be done with, they are empty and the counts say why.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from data.arrow import read_arrow, write_arrow
from data.artifacts.corpus import Cutting, TokenizedCorpus
from data.artifacts.effects import EFFECTS, EFFECTS_FILE, READINGS, READINGS_FILE
from data.artifacts.features import EXAMPLES_FILE, STATISTICS_FILE
from data.artifacts.responses import read_best_strengths, read_shown
from pipeline.activations.beginnings import read_beginnings
from pipeline.activations.residuals import load_language_model
from pipeline.influence.effect_cases import Cases, choose_cases, choose_features
from pipeline.influence.effect_files import (
    EffectArrays,
    Reading,
    count_readings,
    effects_table,
    readings_table,
)
from pipeline.influence.effects import Texts, measure_effects, run_cases
from pipeline.influence.readings import EXAMPLES_READ, ColouredFeature, ExampleReader, choose_coloured
from pipeline.models.exact import ExactModel
from pipeline.models.language_model import LanguageModel
from pipeline.models.plain_effects import effects_obstacle, make_later_layers
from pipeline.models.sae import SAE
from pipeline.progress import log, track
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work

Coloured = dict[int, list[Reading]]
"""Readings of the coloured examples by number of the SAE."""


def _work(work: Work) -> dict[str, Any]:
    recipe, config = work.recipe, work.recipe.effects
    statistics = [read_arrow(work.input_folder("examples") / name / STATISTICS_FILE) for name in recipe.sae_names]
    examples = [read_arrow(work.input_folder("examples") / name / EXAMPLES_FILE) for name in recipe.sae_names]
    responding = read_best_strengths(work.input_folder("respond"))
    first = [responding.get(name, {}) for name in recipe.sae_names]
    choices = choose_features(statistics, first, recipe.examples.rare_tokens, config.features)
    cases = choose_cases(examples, choices, TokenizedCorpus(work.input_folder("tokenize")).sequences, config)
    model = load_language_model(recipe, work.paths) if config.features else None
    why_none = "The recipe measures none (effects.features=0)." if model is None else effects_obstacle(model)
    found: EffectArrays | None = None
    coloured: Coloured = {}
    if why_none or model is None:
        log(f"effects: nothing is measured. {why_none}")
    elif len(cases.sae_M):
        found, coloured = _measure(work, model, cases)
    saes = {}
    for number, name in enumerate(recipe.sae_names):
        folder = work.folder / name
        folder.mkdir(exist_ok=True)
        readings = readings_table(cases, found, number, coloured.get(number, []))
        effects = effects_table(cases, found, number, count_readings(readings, len(statistics[number])))
        write_arrow(folder / EFFECTS_FILE, EFFECTS, effects.to_batches())
        write_arrow(folder / READINGS_FILE, READINGS, readings.to_batches())
        num_measured = int((effects["num_measured"].to_numpy() > 0).sum())
        saes[name] = {"num_live": int(choices[number].live_F.sum()), "num_measured": num_measured}
    return {"why_none": why_none, "num_cases": 0 if found is None else len(cases.sae_M), "saes": saes}


def _measure(work: Work, model: LanguageModel, cases: Cases) -> tuple[EffectArrays, Coloured]:
    recipe, config = work.recipe, work.recipe.effects
    saes = [SAE.load(work.input_folder("train") / name, recipe.model.device) for name in recipe.sae_names]
    with track("effects: texts", len(cases.sae_M), "examples") as progress:
        ends = run_cases(make_later_layers(model), saes, cases, _texts(work, model, cases), progress)
    feature_M = cases.feature_M
    with track("effects: tokens", int(feature_M[-1]) + 1, "features") as progress:
        chunks = []
        for chunk in measure_effects(ExactModel(model), ends, feature_M, config.tokens):
            chunks.append(chunk)
            progress.advance(len(chunk.raised_NK))
        found = EffectArrays.of(chunks)
    return found, _colour(work, model, saes, cases, found)


def _texts(work: Work, model: LanguageModel, cases: Cases) -> Iterator[Texts]:
    positions_S = np.zeros(len(TokenizedCorpus(work.input_folder("tokenize")).sequences), np.int64)
    np.maximum.at(positions_S, cases.sequence_M, cases.position_M + 1)
    for beginnings in read_beginnings(work.recipe, work.paths, model, positions_S):
        yield Texts(*beginnings)


def _colour(work: Work, model: LanguageModel, saes: list[SAE], cases: Cases, found: EffectArrays) -> Coloured:
    """Readings of the strongest examples of a few features."""
    reader = ExampleReader(
        model,
        TokenizedCorpus(work.input_folder("tokenize")),
        Cutting.of(work.inputs["tokenize"].counts),
        sink_norm=work.inputs["harvest"].counts["sink_threshold"],
    )
    chosen = choose_coloured(cases, found, len(saes), work.recipe.effects.readings, _shown(work))
    coloured: Coloured = {}
    with track("effects: readings", EXAMPLES_READ * len(chosen), "examples") as progress:
        for one in chosen:
            examples = read_arrow(work.input_folder("examples") / work.recipe.sae_names[one.sae] / EXAMPLES_FILE)
            for reading in reader.read(saes[one.sae], one.feature, examples):
                coloured.setdefault(one.sae, []).append(reading)
                progress.advance()
    return coloured


def _shown(work: Work) -> list[ColouredFeature]:
    """Features that pages lead with, once each."""
    shown, names = read_shown(work.input_folder("respond")), work.recipe.sae_names
    features = [ColouredFeature(names.index(one.sae), one.index) for one in (*shown.chats, *shown.openings)]
    return list(dict.fromkeys(features))


def _config(recipe: Recipe) -> dict[str, Any]:
    return {
        "effects": recipe.effects.model_dump(mode="json"),
        "rare_tokens": recipe.examples.rare_tokens,
        "dtype": recipe.model.dtype,
        "saes": recipe.sae_names,
    }


STAGE = Stage("effects", _work, _config, needs=("fetch", "tokenize", "harvest", "train", "examples", "respond"))
run = STAGE.run
