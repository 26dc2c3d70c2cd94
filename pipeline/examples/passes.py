"""The passes over the corpus that find the examples of several SAEs together, and fill in their windows.

Shapes: N rows of a block, D width, A bands.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import TOP
from pipeline.arrays import Ints
from pipeline.examples.band_search import BandSearch
from pipeline.examples.contexts import Contexts, Repeats
from pipeline.examples.contrast import ContrastSearch, Occurrences
from pipeline.examples.selection import Candidates, FeatureSelection, Intervals, Statistics, join
from pipeline.examples.shortlist import Entries
from pipeline.examples.top_search import TopSearch
from pipeline.examples.windows import WindowGather
from pipeline.models.sae import SAE
from pipeline.progress import log
from pipeline.recipe import ExamplesConfig

Blocks = Iterable[tuple[Tensor, Ints]]
"""Rows [N, D] of whole sequences, and the tokens that they belong to (see pack_tokens) [N]."""
Read = Callable[[str], Blocks]
"""Reads all blocks, under the name of what they are read for."""


class Selected(NamedTuple):
    """Findings of the first passes for one SAE."""

    statistics: Statistics
    band_counts_FA: Ints
    chosen: Candidates


def select(
    saes: Mapping[str, SAE], corpus: TokenizedCorpus, vocab_size: int, config: ExamplesConfig, read: Read
) -> tuple[dict[str, Selected], int]:
    """Statistics and chosen tokens of every SAE by name, and how many tokens were counted."""
    selections = {name: FeatureSelection(sae, config, corpus) for name, sae in saes.items()}
    occurrences = Occurrences(corpus, vocab_size, config.contrast_occurrences)
    num_tokens = 0
    for x_ND, token_N in read("examples"):
        occurrences.add(x_ND, token_N)
        for selection in selections.values():
            selection.add(x_ND, token_N)
        num_tokens += len(token_N)
    intervals, tops = search_again(saes, selections, corpus, config, read)
    search = ContrastSearch(corpus, occurrences, vocab_size)
    selected = {}
    for name, selection in selections.items():
        found = selection.candidates(tops.get(name))
        contrast = search.find(saes[name], found.take(found.kind_M == TOP), config.contrast)
        chosen = join([found, intervals[name].candidates(), contrast])
        selected[name] = Selected(selection.statistics(), intervals[name].counts_FA, chosen)
    return selected, num_tokens


def search_again(
    saes: Mapping[str, SAE],
    selections: Mapping[str, FeatureSelection],
    corpus: TokenizedCorpus,
    config: ExamplesConfig,
    read: Read,
    say: Callable[[str], None] = log,
) -> tuple[dict[str, Intervals], dict[str, Entries]]:
    """The samples of all bands, and top entries: what the first pass left open is sought in another."""
    intervals = {name: selection.intervals() for name, selection in selections.items()}
    bands = {
        name: BandSearch(saes[name], found, selections[name].max_F, config, corpus)
        for name, found in intervals.items()
        if found.open_FA.any()
    }
    tops = {
        name: TopSearch(saes[name], lacking, config, corpus)
        for name, selection in selections.items()
        if len(lacking := selection.top.lacking())
    }
    searches: list[BandSearch | TopSearch] = [*bands.values(), *tops.values()]
    if searches:
        num_bands, num_tops = (sum(len(one.features) for one in some.values()) for some in (bands, tops))
        say(
            f"{num_bands:,} features have bands that their samples left open"
            + (f", and {num_tops:,} a top that copies crowded" if num_tops else "")
            + ": their tokens are read once more"
        )
        for x_ND, token_N in read("bands"):
            for search in searches:
                search.add(x_ND, token_N)
    found = {name: search.result() for name, search in bands.items()}
    return intervals | found, {name: search.result() for name, search in tops.items()}


def gather(
    saes: Mapping[str, SAE], selected: Mapping[str, Selected], corpus: TokenizedCorpus, context: int, read: Read
) -> tuple[dict[str, WindowGather], Repeats]:
    """The windows of every SAE's examples by name, over the same blocks, and how often their contexts come there."""
    repeats = Repeats(Contexts(corpus), (found.chosen.token_M for found in selected.values()))
    gathers = {name: WindowGather(sae, selected[name].chosen, corpus, context) for name, sae in saes.items()}
    for x_ND, token_N in read("windows"):
        repeats.add(token_N)
        for windows in gathers.values():
            windows.add(x_ND, token_N)
    return gathers, repeats
