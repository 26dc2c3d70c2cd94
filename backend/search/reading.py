"""What a query lights up: the model reads it alone and in a few sentences, and features are ranked by how strong they
are on the query's own tokens, in all of the sentences together. The one where a feature is strongest does not count, so
that none is there for a single sentence, or for the start of a text. Those that are active nearly everywhere come last.

Shapes: K activations above zero, U features active in any of the sentences.
"""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from backend.engine.engine import Engine
from backend.engine.messages import Active, Prompt, PromptReading
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.features import FeatureSummary, to_summaries
from backend.published.search import WordSearch
from backend.search.prompts import tabulate

SENTENCES = ("{}", "The {}", "It was about the {}", "They wrote of {}")
"""In which the model reads a query."""
LEAST_SHARE = 0.15
"""Of its highest activation in the corpus, on average: a feature that lights up less is left out."""
OFTEN = 0.02
"""A feature that is active on more of the corpus's tokens than this is pushed down, by as much as it is above."""
LIT_SHOWN = 8


@dataclass(frozen=True)
class Lit:
    """A feature that lights up on a query."""

    feature: FeatureSummary
    share: float
    """Of its highest activation in the corpus, on average over the sentences but the one where it is highest."""
    score: float
    """The value that it is ranked by: share x -ln(density), less when it is active often."""


async def light_up(engine: Engine, run: OpenRun, asked: WordSearch) -> list[Lit]:
    """The features that light up most on a query. Raises as `Engine.activations` does."""
    saes = [sae for sae in run.saes if asked.sae in ("", sae.name)]
    query = " ".join(asked.q.split())
    readings = []
    for sentence in SENTENCES:
        reading = await engine.activations(saes, Prompt(sentence.format(query)))
        readings.append(on_query(reading, sentence, query))
    return rank_lit(saes, readings, minor=asked.shown not in ("live", "dead"))


def on_query(reading: PromptReading, sentence: str, query: str) -> PromptReading:
    """The same with the activations on the query's own tokens alone."""
    sizes = np.array([len(piece) for piece in reading.pieces])
    ends = np.cumsum(sizes)
    starts = ends - sizes
    # Counted from the end: a tokenizer may put a space before a text.
    stop = int(ends[-1]) - len(sentence.partition("{}")[2].encode())
    start = stop - len(query.encode())
    own = np.flatnonzero((starts < stop) & (ends > start))
    active = {}
    for name, found in reading.active.items():
        kept_K = np.isin(found.token_K, own)
        active[name] = Active(found.token_K[kept_K], found.feature_K[kept_K], found.value_K[kept_K])
    return replace(reading, active=active)


def rank_lit(saes: list[OpenSAE], readings: list[PromptReading], *, minor: bool = False) -> list[Lit]:
    """The first LIT_SHOWN features of some readings, best first; ties by row. minor: also what lists leave out."""
    table = tabulate(saes, readings, [], minor=minor)
    share_U = np.sort(np.minimum(table.positive_PU, 1.0), axis=0)[:-1].mean(axis=0)
    score_U = share_U * -np.log(table.density_U) * np.minimum(OFTEN / table.density_U, 1)
    order = np.lexsort((table.row_U, -score_U))
    chosen = order[share_U[order] >= LEAST_SHARE][:LIT_SHOWN]
    features = to_summaries(saes[0].run, table.records_U.take(pa.array(chosen)))
    numbers = zip(share_U[chosen].tolist(), score_U[chosen].tolist(), strict=True)
    return [Lit(feature, *pair) for feature, pair in zip(features, numbers, strict=True)]
