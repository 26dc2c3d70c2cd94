"""Stage `respond`: what features make the model write when they are held, in responses.json.

Everything that was probed and written is in the file, so that a reader sees how many responded of how many. A recipe
that asks for no candidates, and a model that cannot be written with, give a file that says why there is nothing in it.
"""

import json
from typing import Any

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.responses import RESPONSES_FILE
from pipeline.activations.residuals import load_language_model
from pipeline.fetching.local import model_folder
from pipeline.influence.candidates import Features
from pipeline.influence.closeness import Closeness
from pipeline.influence.measuring import Funnel, Measured
from pipeline.influence.writing import Opening, Writer
from pipeline.models.decoder import decoding_obstacle
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from pipeline.progress import log
from pipeline.recipe import Recipe
from pipeline.recipe.influence import RespondConfig
from pipeline.stage import Stage, Work


def _work(work: Work) -> dict[str, Any]:
    model = load_language_model(work.recipe, work.paths) if work.recipe.respond.candidates else None
    why_none = (
        "The recipe asks for no candidates (respond.candidates=0)." if model is None else decoding_obstacle(model.model)
    )
    measured = Measured() if why_none or model is None else _measure(work, model)
    found = measured.as_json(why_none or None)
    if why_none:
        log(f"respond: nothing is measured. {why_none}")
    (work.folder / RESPONSES_FILE).write_text(json.dumps(found, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
    return {name: found["shown"][name] for name in ("why_none", "probed", "written", "responded")}


def _measure(work: Work, model: LanguageModel) -> Measured:
    recipe, config = work.recipe, work.recipe.respond
    tokenizer = Tokenizer.load(model_folder(work.inputs["fetch"], work.paths))
    corpus = TokenizedCorpus(work.input_folder("tokenize"))
    pieces, examples = tokenizer.token_bytes(model.vocab_size), work.input_folder("examples")
    features = Features(corpus, examples, work.input_folder("explain"), pieces, recipe.examples)
    candidates = features.candidates(recipe.sae_names, config.candidates)
    names = {candidate.sae for candidate in candidates}
    saes = {name: SAE.load(work.input_folder("train") / name, recipe.model.device) for name in sorted(names)}
    writer = Writer(model, tokenizer, saes, work.inputs["harvest"].counts["sink_threshold"])
    closeness = Closeness(model.unembedding()[1], tokenizer)
    return Funnel(writer, closeness, _openings(config, tokenizer), config).measure(candidates)


def _openings(config: RespondConfig, tokenizer: Tokenizer) -> list[Opening]:
    """The chats, where the model knows how to have one, then the plain openings."""
    if config.chats and not tokenizer.has_chat_template:
        log("respond: the model has no chat template, so no chats are measured")
    chats = config.chats if tokenizer.has_chat_template else ()
    return [*(Opening(text, True) for text in chats), *(Opening(text, False) for text in config.openings)]


def _config(recipe: Recipe) -> dict[str, Any]:
    config = {"respond": recipe.respond.model_dump(mode="json"), "rare_tokens": recipe.examples.rare_tokens}
    return {**config, "dtype": recipe.model.dtype, "saes": recipe.sae_names}


STAGE = Stage(
    "respond", _work, _config, needs=("fetch", "tokenize", "harvest", "train", "examples", "explain"), version=3
)
run = STAGE.run
