"""The residual stream of held-out documents, attention sinks left out, as the harvest leaves them out of training."""

from collections.abc import Iterator

import numpy as np

from data.artifacts.corpus import TokenizedCorpus
from pipeline.activations.batches import draw_sequences, plan_batches
from pipeline.activations.residuals import ResidualBlock, run_model
from pipeline.arrays import Ints
from pipeline.models.language_model import LanguageModel
from pipeline.models.left_out import are_sinks

LABEL_TOKENS = 40_000
"""Held-out tokens, as `draw_held_out` draws them, on which labels and judges are tried."""


def draw_held_out(corpus: TokenizedCorpus, max_tokens: int, seed: int) -> Ints:
    """Numbers of random held-out sequences, of at most `max_tokens` tokens unless the first alone has more."""
    return draw_sequences(corpus, corpus.sequence_numbers(held_out=True), max_tokens, seed)


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
