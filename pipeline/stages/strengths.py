"""Stage `strengths`: what features do at one strength after the other, and the strength at which each is best held.

Two tables for every SAE, curves.arrow and strengths.arrow. Where nothing is measured, for the recipe asks for none or
the model cannot be written with, they are empty and the counts say why. What is measured is on disk at once, and so is
what the judge answers: a run that was killed goes on there.
"""

import statistics
from typing import Any

from data.arrow import read_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.effects import EFFECTS_FILE
from data.artifacts.features import STATISTICS_FILE, read_kinds
from data.artifacts.labels import read_labels
from data.artifacts.responses import read_best_strengths, read_continuations, read_shown
from data.artifacts.scores import read_judges
from pipeline.activations.residuals import load_language_model
from pipeline.fetching.encoders import encoder_key
from pipeline.fetching.local import model_folder
from pipeline.influence.responses import MAX_RATIO
from pipeline.influence.strength_features import Told, choose_held
from pipeline.influence.strength_files import Curve, measure_parts, write_curves
from pipeline.influence.strengths import HeldFeature, StrengthMeter, break_of, peak_of
from pipeline.influence.writing import Opening, Writer
from pipeline.judges.cache import AnswerCache
from pipeline.judges.making import make_judge
from pipeline.judges.tasks import TOPIC
from pipeline.labels.words import Words
from pipeline.models.decoder import decoding_obstacle
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from pipeline.progress import log, track
from pipeline.recipe import Recipe
from pipeline.scores.materials import judge_materials, plant_questions
from pipeline.scores.written import Judgement, Reader, choose_reader, judge_curves
from pipeline.stage import Stage, Work


def _work(work: Work) -> dict[str, Any]:
    recipe, config = work.recipe, work.recipe.strengths
    tokenizer = Tokenizer.load(model_folder(work.inputs["fetch"], work.paths), opening=recipe.tokenize.opening)
    model = load_language_model(recipe, work.paths) if config.features else None
    why_none = "The recipe measures none (strengths.features=0)." if model is None else decoding_obstacle(model.model)
    curves: list[Curve] = []
    if why_none or model is None:
        log(f"strengths: nothing is measured. {why_none}")
    else:
        curves = _measure(work, model, tokenizer, _choose(work, tokenizer))
    found = _judge(work, tokenizer, curves)
    if isinstance(found, str):
        log(f"strengths: no text is judged. {found}")
    else:
        curves = found.curves
    trusted = not isinstance(found, str) and found.trusted
    for name in recipe.sae_names:
        (work.folder / name).mkdir(exist_ok=True)
        write_curves(work.folder / name, [one for one in curves if one[0].sae == name], trusted=trusted)
    return {
        "why_none": why_none or None,
        "judge": None if isinstance(found, str) else found.report.as_json(),
        "why_unjudged": found if isinstance(found, str) else "",
        "trusted": trusted,
        "max_ratio": MAX_RATIO,
        "saes": {name: _summary([one for one in curves if one[0].sae == name], trusted) for name in recipe.sae_names},
    }


def _choose(work: Work, tokenizer: Tokenizer) -> list[HeldFeature]:
    recipe, config = work.recipe, work.recipe.strengths
    saes = []
    for name in recipe.sae_names:
        statistics_F = read_arrow(work.input_folder("examples") / name / STATISTICS_FILE)
        explained = read_labels(work.input_folder("explain"), work.input_folder("score"), name)
        raised = read_arrow(work.input_folder("effects") / name / EFFECTS_FILE)["raised"]
        live_F = read_kinds(statistics_F, recipe.examples.rare_tokens).live_F
        told = (statistics_F["max"].to_numpy(), explained["label"], explained["top_words"], raised)
        saes.append(Told(name, live_F, *told))
    folder = work.input_folder("respond")
    return choose_held(
        saes, read_shown(folder), read_best_strengths(folder), tokenizer,
        count=config.features, words=config.words, seed=recipe.seed,
    )  # fmt: skip


def _measure(work: Work, model: LanguageModel, tokenizer: Tokenizer, features: list[HeldFeature]) -> list[Curve]:
    recipe, config = work.recipe, work.recipe.strengths
    names = sorted({one.sae for one in features})
    saes = {name: SAE.load(work.input_folder("train") / name, recipe.model.device) for name in names}
    writer = Writer(model, tokenizer, saes, work.inputs["harvest"].counts["sink_threshold"])
    openings, known = (
        [Opening(text, False) for text in config.openings],
        read_continuations(work.input_folder("respond")),
    )
    meter = StrengthMeter(writer, openings, config, known)
    with track("strengths", len(features), "features") as progress:
        return measure_parts(work.folder, features, meter.measure, progress.advance)


def _judge(work: Work, tokenizer: Tokenizer, curves: list[Curve]) -> Judgement | str:
    """The curves with what a judge says of their texts; the reason why none does, as a sentence."""
    recipe, config = work.recipe, work.recipe.strengths
    if not any(point.texts for _, points in curves for point in points[1:]):
        return "No texts were written."
    chosen = choose_reader(recipe.score.judges, read_judges(work.input_folder("score")))
    if chosen is None:
        return "No judge that can read them was measured by stage `score`."
    corpus, vocabulary = TokenizedCorpus(work.input_folder("tokenize")), tokenizer.token_bytes()
    materials = judge_materials(work, corpus, Words(vocabulary))
    judge = make_judge(chosen, materials)
    if isinstance(judge, str):
        return judge
    planted = plant_questions(
        work, materials, vocabulary, [TOPIC], count=config.planted, context=config.new_tokens // 2
    )
    reader = Reader(chosen, judge, AnswerCache(work.paths.store.judgements, judge))
    return judge_curves(reader, curves, config.openings, planted[TOPIC.name])


def _summary(curves: list[Curve], trusted: bool) -> dict[str, Any]:
    """Of one SAE: how many were measured, and of those drawn at random how they did."""
    drawn = [points for one, points in curves if one.random]
    breaks = [found for points in drawn if (found := break_of(points)) is not None]
    return {
        "num_measured": len(curves),
        "num_random": len(drawn),
        "num_moved": sum(peak_of(points, trusted=trusted) is not None for points in drawn),
        "median_break": statistics.median(breaks) if breaks else None,
    }


def _config(recipe: Recipe) -> dict[str, Any]:
    return {
        "strengths": recipe.strengths.model_dump(mode="json"),
        "task": {TOPIC.name: TOPIC.version},
        "encoder": encoder_key(recipe.embed),
        "rare_tokens": recipe.examples.rare_tokens,
        "dtype": recipe.model.dtype,
        "saes": recipe.sae_names,
    }


STAGE = Stage(
    "strengths",
    _work,
    _config,
    needs=("fetch", "tokenize", "harvest", "train", "examples", "explain", "respond", "effects", "score"),
    version=2,  # labels that candidates won
)
run = STAGE.run
