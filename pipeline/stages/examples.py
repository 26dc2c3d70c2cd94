"""Stage `examples`: what every feature of every SAE fires on, from one pass over the corpus for all of them together.

Definitions and memory: selection.py, contrast.py and windows.py of pipeline/examples. A second pass fills in the
windows. A run that was killed starts again.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import TOP
from pipeline.activations.residuals import held_in_shards, residual_blocks
from pipeline.arrays import Ints, pack_tokens
from pipeline.examples.contrast import ContrastSearch, Occurrences
from pipeline.examples.files import write_examples, write_statistics
from pipeline.examples.selection import Candidates, FeatureSelection, Statistics, join
from pipeline.examples.windows import WindowGather
from pipeline.models.sae import SAE
from pipeline.progress import track
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work

BLOCK_TOKENS = 2048


def find_examples(work: Work) -> dict[str, Any]:
    """Write statistics.arrow and examples.arrow for every SAE."""
    recipe = work.recipe
    corpus = TokenizedCorpus(work.input_folder("tokenize"))
    saes = {name: SAE.load(work.input_folder("train") / name, recipe.model.device) for name in recipe.sae_names}
    statistics, chosen, num_tokens = _select(work, saes, corpus)
    gathers = {name: WindowGather(sae, chosen[name], corpus, recipe.examples.context) for name, sae in saes.items()}
    for x_ND, token_N in _blocks(work, "windows"):
        for gather in gathers.values():
            gather.add(x_ND, token_N)
    counts = {}
    for name in saes:
        folder = work.folder / name
        folder.mkdir(exist_ok=True)
        examples = gathers.pop(name).finish(recipe.examples)
        num_dead = write_statistics(folder, statistics.pop(name), examples.max_F, num_tokens)
        num_examples = write_examples(folder, examples, corpus)
        dead_share = num_dead / saes[name].num_features
        counts[name] = {"dead_share": dead_share, "num_dead": num_dead, "num_examples": num_examples}
    source = "shards" if held_in_shards(work.inputs["harvest"]) else "model"
    return {"num_tokens": num_tokens, "source": source, "saes": counts}


def _blocks(work: Work, title: str) -> Iterator[tuple[Tensor, Ints]]:
    """The rows of each block and the tokens that they belong to (see pack_tokens), with a progress bar."""
    limit = work.recipe.examples.max_tokens
    total = work.inputs["harvest"].counts["num_tokens"]
    with track(title, min(total, limit or total)) as progress:
        for block in residual_blocks(work.recipe, work.paths, block_tokens=BLOCK_TOKENS, max_tokens=limit):
            yield block.x_ND, pack_tokens(block.index_N["sequence"], block.index_N["position"])
            progress.advance(len(block.index_N))


def _select(
    work: Work, saes: dict[str, SAE], corpus: TokenizedCorpus
) -> tuple[dict[str, Statistics], dict[str, Candidates], int]:
    """The one pass that finds the examples: statistics and chosen tokens of every SAE, and the tokens counted."""
    config = work.recipe.examples
    document_S = np.asarray(corpus.sequences["document"])
    vocab_size = int(work.inputs["tokenize"].counts["vocab_size"])
    selections = {name: FeatureSelection(sae, config, document_S) for name, sae in saes.items()}
    occurrences = Occurrences(corpus, vocab_size, config.contrast_occurrences)
    num_tokens = 0
    for x_ND, token_N in _blocks(work, "examples"):
        occurrences.add(x_ND, token_N)
        for selection in selections.values():
            selection.add(x_ND, token_N)
        num_tokens += len(token_N)
    search = ContrastSearch(corpus, occurrences, vocab_size)
    chosen = {}
    for name, selection in selections.items():
        found = selection.candidates()
        top = found.take(found.kind_M == TOP)
        chosen[name] = join([found, search.find(saes[name], top, config.contrast)])
    return {name: selection.statistics() for name, selection in selections.items()}, chosen, num_tokens


def _config(recipe: Recipe) -> dict[str, Any]:
    return {"examples": recipe.examples.model_dump(mode="json")}


STAGE = Stage(name="examples", work=find_examples, config=_config, needs=("fetch", "tokenize", "harvest", "train"))
run = STAGE.run
