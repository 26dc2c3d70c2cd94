"""The residual stream of held-out documents, attention sinks left out, as the harvest leaves them out of training."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from data.errors import CorpusError
from data.layout import RunPaths
from data.manifests import require_stage
from pipeline.activations.batches import draw_sequences, plan_batches
from pipeline.activations.residuals import ResidualBlock, load_language_model, run_model
from pipeline.arrays import Ints
from pipeline.models.language_model import LanguageModel
from pipeline.models.left_out import are_sinks
from pipeline.progress import track
from pipeline.recipe import Recipe

LABEL_TOKENS = 40_000
"""Held-out tokens, as `draw_held_out` draws them, on which labels and judges are tried."""


def draw_held_out(corpus: TokenizedCorpus, max_tokens: int, seed: int) -> Ints:
    """Numbers of random held-out sequences, of at most `max_tokens` tokens unless the first alone has more."""
    return draw_sequences(corpus, corpus.sequence_numbers(held_out=True), max_tokens, seed)


class DrawnText:
    """Some sequences of a corpus as one text, in which every token has a number: one sequence after the other.

    Shapes: S sequences of the corpus, N tokens.
    """

    def __init__(self, corpus: TokenizedCorpus, numbers: Ints) -> None:
        """numbers: of the sequences."""
        lengths = corpus.sequences["length"][numbers].astype(np.int64)
        ends = np.cumsum(lengths)
        self.numbers, self.num_tokens = numbers, int(lengths.sum())
        self.first_S = np.full(len(corpus.sequences), -1, np.int64)
        """Number of the first token of each sequence; -1 of those that are not in the text."""
        self.first_S[numbers] = ends - lengths

    def places(self, corpus: TokenizedCorpus, token_N: Ints) -> tuple[Ints, Ints]:
        """Documents and positions there of some tokens [N]."""
        first = self.first_S[self.numbers]
        at_N = np.searchsorted(first, token_N, side="right") - 1
        sequences_N = corpus.sequences[self.numbers[at_N]]
        inside_N = token_N - first[at_N]
        return sequences_N["document"].astype(np.int64), sequences_N["start"].astype(np.int64) + inside_N


def held_out_blocks(
    model: LanguageModel,
    corpus: TokenizedCorpus,
    numbers_S: Ints,
    *,
    bos_id: int | None,
    sink_norm: float,
    batch_tokens: int,
) -> Iterator[ResidualBlock]:
    """One block for each batch of the sequences with these numbers."""
    batches = plan_batches(corpus.sequences["length"][numbers_S], batch_tokens)
    for block in run_model(model, corpus, [numbers_S[batch] for batch in batches], bos_id):
        kept_N = np.flatnonzero(~are_sinks(block.x_ND, sink_norm).cpu().numpy())
        yield ResidualBlock(block.x_ND[kept_N], block.index_N[kept_N])


@torch.no_grad()
def read_held_out(recipe: Recipe, paths: RunPaths, max_tokens: int) -> Tensor:
    """Activations of the first sequences that `draw_held_out` draws, as the model gives them, float32 [N, D].

    Raises CorpusError where no document is held out.
    """
    corpus, counts = TokenizedCorpus(paths.stage("tokenize")), require_stage(paths, "harvest").counts
    numbers_S = draw_held_out(corpus, max_tokens, recipe.seed)
    if len(numbers_S) == 0:
        raise CorpusError("no document is held out to measure on: give more text, or raise corpus.held_out_fraction")
    model = load_language_model(recipe, paths, only_until_layer=True)
    parts = []
    with track("held-out activations", int(corpus.sequences["length"][numbers_S].sum())) as progress:
        for block in held_out_blocks(
            model,
            corpus,
            numbers_S,
            bos_id=counts["bos_id"],
            sink_norm=counts["sink_threshold"],
            batch_tokens=recipe.harvest.batch_tokens,
        ):
            parts.append(block.x_ND.float().cpu())
            progress.advance(len(block.x_ND))
    return torch.cat(parts)
