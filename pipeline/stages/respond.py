"""Stage `respond`: which features turn the text to their word when they are held, in responses.json.

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
from pipeline.influence.measuring import Measured, measure
from pipeline.influence.responses import Writer
from pipeline.models.decoder import decoding_obstacle
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from pipeline.progress import log
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work


def _work(work: Work) -> dict[str, Any]:
    model = load_language_model(work.recipe, work.paths) if work.recipe.respond.candidates else None
    why_none = (
        "The recipe asks for no candidates (respond.candidates=0)." if model is None else decoding_obstacle(model.model)
    )
    measured = Measured() if why_none or model is None else _measure(work, model)
    found = measured.as_json()
    if why_none:
        log(f"respond: nothing is measured. {why_none}")
    (work.folder / RESPONSES_FILE).write_text(
        json.dumps({"why_none": why_none, **found}, ensure_ascii=False, indent=1) + "\n"
    )
    return {"why_none": why_none, **{name: len(rows) for name, rows in found.items()}}


def _measure(work: Work, model: LanguageModel) -> Measured:
    recipe, config = work.recipe, work.recipe.respond
    tokenizer = Tokenizer.load(model_folder(work.inputs["fetch"], work.paths))
    corpus = TokenizedCorpus(work.input_folder("tokenize"))
    pieces = tokenizer.token_bytes(model.vocab_size)
    features = Features(corpus, work.input_folder("examples"), work.input_folder("explain"), pieces)
    candidates = features.candidates(recipe.sae_names, config.candidates)
    names = {candidate.sae for candidate in candidates}
    saes = {name: SAE.load(work.input_folder("train") / name, recipe.model.device) for name in sorted(names)}
    threshold = work.inputs["harvest"].counts["sink_threshold"]
    return measure(Writer(model, tokenizer, saes, threshold, config.new_tokens), candidates, config)


def _config(recipe: Recipe) -> dict[str, Any]:
    return {"respond": recipe.respond.model_dump(mode="json"), "dtype": recipe.model.dtype, "saes": recipe.sae_names}


STAGE = Stage("respond", _work, _config, needs=("fetch", "tokenize", "harvest", "train", "examples", "explain"))
run = STAGE.run
