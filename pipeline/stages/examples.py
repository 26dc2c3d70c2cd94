"""Stage `examples`: what every feature of every SAE fires on, from a pass over the corpus for all of them together.

Definitions and memory: selection.py, band_search.py, contrast.py, contexts.py and windows.py of pipeline/examples; the
passes are in passes.py. A run that was killed starts again.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from pipeline.activations.residuals import held_in_shards, residual_blocks
from pipeline.arrays import Ints, pack_tokens
from pipeline.examples.files import write_examples, write_statistics
from pipeline.examples.passes import gather, select
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
    vocab_size = int(work.inputs["tokenize"].counts["vocab_size"])
    read = partial(_blocks, work)
    selected, num_tokens = select(saes, corpus, vocab_size, recipe.examples, read)
    gathers, repeats = gather(saes, selected, corpus, recipe.examples.context, read)
    counts = {}
    for name in saes:
        folder = work.folder / name
        folder.mkdir(exist_ok=True)
        found = selected.pop(name)
        examples = gathers.pop(name).finish(found.statistics.max_F, repeats)
        tally = write_statistics(folder, found.statistics, found.band_counts_FA, num_tokens)
        num_examples = write_examples(folder, examples, corpus)
        dead_share = tally.num_dead / saes[name].num_features
        num_folded = int((examples.repeats_M > 0).sum())
        counts[name] = {
            "dead_share": dead_share, **tally._asdict(), "num_examples": num_examples, "num_with_repeats": num_folded
        }  # fmt: skip
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


def _config(recipe: Recipe) -> dict[str, Any]:
    return {"examples": recipe.examples.model_dump(mode="json", exclude={"rare_tokens"})}


STAGE = Stage(
    name="examples",
    work=find_examples,
    config=_config,
    needs=("fetch", "tokenize", "harvest", "train"),
    version=3,  # one example of each context, with the number of its repeats
)
run = STAGE.run
