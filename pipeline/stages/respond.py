"""Stage `respond`: which features turn the text to their word when they are held, in responses.json.

Everything that was probed and written is in the file, so that a reader sees how many responded of how many. A recipe
that asks for no candidates, and a model that cannot be written with, give a file that says why there is nothing in it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, zip_longest
from typing import Any

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import RESPONSES_FILE
from pipeline.activations.residuals import load_language_model
from pipeline.fetching.local import model_folder
from pipeline.influence.candidates import Candidate, Features
from pipeline.influence.responses import Case, Response, Writer
from pipeline.models.decoder import obstacle
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from pipeline.progress import log, track
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work

BEST_OF_AN_OPENING = 2


def _work(work: Work) -> dict[str, Any]:
    model = load_language_model(work.recipe, work.paths) if work.recipe.respond.candidates else None
    why_none = "The recipe asks for no candidates (respond.candidates=0)." if model is None else obstacle(model.model)
    found = {"probed": [], "written": [], "best": []} if why_none or model is None else _measure(work, model)
    if why_none:
        log(f"respond: nothing is measured. {why_none}")
    (work.folder / RESPONSES_FILE).write_text(
        json.dumps({"why_none": why_none, **found}, ensure_ascii=False, indent=1) + "\n"
    )
    return {"why_none": why_none, **{name: len(rows) for name, rows in found.items()}}


def _measure(work: Work, model: LanguageModel) -> dict[str, list[dict[str, Any]]]:
    """Probe, write, and confirm the best."""
    recipe, config = work.recipe, work.recipe.respond
    tokenizer = Tokenizer.load(model_folder(work.inputs["fetch"], work.paths))
    corpus = TokenizedCorpus(work.input_folder("tokenize"))
    pieces = tokenizer.token_bytes(model.vocab_size)
    features = Features(corpus, work.input_folder("examples"), work.input_folder("explain"), pieces)
    candidates = features.candidates(recipe.sae_names, config.candidates)
    names = {candidate.sae for candidate in candidates}
    saes = {name: SAE.load(work.input_folder("train") / name, recipe.model.device) for name in sorted(names)}
    threshold = work.inputs["harvest"].counts["sink_threshold"]
    writer = Writer(model, tokenizer, saes, threshold, config.new_tokens)
    cases = _probe(writer, candidates, recipe)
    chosen = [case for opening in config.openings for case in _highest(cases, opening, config.written)]
    written: list[Response] = []
    with track("respond: write", len(chosen) * len(config.strengths), "texts") as progress:
        for responses in writer.measure(chosen, config.strengths):
            written += responses
            progress.advance(len(responses))
    return {
        "probed": [
            {"sae": one.sae, "index": one.index, "word": one.word, "opening": opening, "probability": probability}
            for one, opening, probability in cases
        ],
        "written": [response.as_json() for response in written],
        "best": [response.as_json() for response in best(writer, chosen, written, config.openings)],
    }


def _probe(writer: Writer, candidates: list[Candidate], recipe: Recipe) -> list[Case]:
    config = recipe.respond
    cases: list[Case] = []
    with track("respond: probe", len(candidates) * len(config.openings), "features") as progress:
        for opening in config.openings:
            for some in writer.probe(candidates, opening, min(config.strengths)):
                cases += some
                progress.advance(len(some))
    return cases


def _highest(cases: Iterable[Case], opening: str, count: int) -> list[Case]:
    """Those after one opening whose word is most probable."""
    of_opening = [case for case in cases if case.opening == opening]
    return sorted(of_opening, key=lambda case: -case.probability)[:count]


def best(writer: Writer, cases: list[Case], written: list[Response], openings: Sequence[str]) -> list[Response]:
    """Up to BEST_OF_AN_OPENING for each opening, each with another word, the least repetitive first; confirmed."""
    case_of = {(case.candidate.sae, case.candidate.index, case.opening): case for case in cases}
    ordered = sorted((one for one in written if one.responds), key=lambda one: (one.baseline_count, -one.distinct))
    words: set[str] = set()

    def confirmed(opening: str) -> Iterator[Response]:
        for one in ordered:
            if one.opening == opening and one.word.casefold() not in words:
                again = writer.confirm(case_of[one.sae, one.index, opening], one.strength)
                if again.responds:
                    words.add(one.word.casefold())
                    yield again

    rounds = list(zip_longest(*[islice(confirmed(opening), BEST_OF_AN_OPENING) for opening in openings]))
    return [one for of_opening in zip(*rounds, strict=True) for one in of_opening if one is not None]


def _config(recipe: Recipe) -> dict[str, Any]:
    return {"respond": recipe.respond.model_dump(mode="json"), "dtype": recipe.model.dtype, "saes": recipe.sae_names}


STAGE = Stage("respond", _work, _config, needs=("fetch", "tokenize", "harvest", "train", "examples", "explain"))
run = STAGE.run
