"""The residual stream of the training documents in harvest order: from the shards if they hold it, or the model.

Shapes: N rows (tokens that are neither opening nor padding), S sequences, D width.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.shards import ShardReader
from data.errors import ArtifactError, ConfigError
from data.layout import RunPaths
from data.manifests import Manifest, require_stage
from pipeline.activations.batches import read_batch, rows_of, training_batches
from pipeline.activations.rows import as_tensor, harvested_rows
from pipeline.arrays import Ints, pack_tokens
from pipeline.fetching.local import model_folder
from pipeline.models.language_model import LanguageModel
from pipeline.models.left_out import row_norms
from pipeline.models.several import SeveralHooks
from pipeline.progress import log
from pipeline.recipe import Recipe

ORDER_FILE = "order.npy"
LEFT_OUT_FILE = "left_out.npy"
MOMENTS_FILE = "moments.npz"


class ResidualBlock(NamedTuple):
    """The residual stream of some whole sequences, sorted by place in the harvest, then position."""

    x_ND: Tensor
    """In the model's dtype; bfloat16 when it comes from the shards."""
    index_N: np.ndarray
    """Of dtype ROW: which token each row is."""


def held_in_shards(harvest: Manifest) -> bool:
    """Whether the shards hold every row as the model gave it, so that `residual_blocks` reads them."""
    return bool(harvest.config["harvest"]["keep_fraction"] == 1 and harvest.counts["storage"] == "bfloat16")


def load_language_model(recipe: Recipe, paths: RunPaths, *, only_until_layer: bool = False) -> LanguageModel:
    """The fetched model as the recipe asks for it, on its device."""
    folder = model_folder(require_stage(paths, "fetch"), paths)
    model, dtype = recipe.model, recipe.model.dtype
    return LanguageModel.load(
        folder,
        layer=model.layer,
        hook=model.hook,
        dtype=dtype,
        device=model.device,
        only_until_layer=only_until_layer,
    )


def check_lengths(model: LanguageModel, corpus: TokenizedCorpus) -> None:
    """Raise ConfigError when the corpus was cut into sequences that are longer than the model can read."""
    longest = int(corpus.sequences["length"].max(initial=0)) + 1
    if longest > model.context_length:
        raise ConfigError(
            f"a sequence has {longest:,} tokens, the model reads at most {model.context_length:,}: "
            f"set tokenize.context_length={model.context_length}"
        )


def run_model(
    model: LanguageModel, corpus: TokenizedCorpus, batches: Iterable[Ints], bos_id: int | None
) -> Iterator[ResidualBlock]:
    """Run the model over batches of sequence numbers; one block for each, attention sinks included.

    Raises ConfigError when a row is not finite.
    """
    found = _read_batches(model, lambda tokens_BL: [model.residuals(tokens_BL)], corpus, batches, bos_id)
    return (block for (block,) in found)


def run_at_hooks(
    model: LanguageModel, hooks: SeveralHooks, corpus: TokenizedCorpus, batches: Iterable[Ints], bos_id: int | None
) -> Iterator[list[ResidualBlock]]:
    """The same at several hooks: for each batch, a block of each hook."""
    return _read_batches(model, hooks.read, corpus, batches, bos_id)


def _read_batches(
    model: LanguageModel,
    read: Callable[[Tensor], list[Tensor]],
    corpus: TokenizedCorpus,
    batches: Iterable[Ints],
    bos_id: int | None,
) -> Iterator[list[ResidualBlock]]:
    """read: activations at each hook of tokens [B, L]."""
    for numbers in batches:
        batch = read_batch(corpus, numbers, bos_id)
        if batch.tokens_BL.max() >= model.vocab_size:
            raise ArtifactError(
                f"the corpus has token {batch.tokens_BL.max()}, the model knows {model.vocab_size:,}: it was tokenized "
                "for another model; run `monosema tokenize` again"
            )
        found = read(torch.from_numpy(batch.tokens_BL))
        yield [ResidualBlock(_all_finite(rows_of(x_BLD, batch.own_BL)), batch.index_N) for x_BLD in found]


def _all_finite(x_ND: Tensor) -> Tensor:
    """The rows themselves. Raises ConfigError when some are not finite: such rows are no attention sinks."""
    num_wrong = len(x_ND) - int(row_norms(x_ND).isfinite().sum())
    if num_wrong:
        dtype = str(x_ND.dtype).removeprefix("torch.")
        remedy = "set model.dtype=bfloat16 or float32" if dtype == "float16" else "set model.dtype=float32"
        raise ConfigError(
            f"{num_wrong:,} of {len(x_ND):,} rows of the residual stream are not finite in {dtype}, whose largest "
            f"number is {torch.finfo(x_ND.dtype).max:.3g}: {remedy}"
        )
    return x_ND


def residual_blocks(
    recipe: Recipe, paths: RunPaths, *, block_tokens: int, max_tokens: int | None = None
) -> Iterator[ResidualBlock]:
    """The residual stream of every training sequence once, in harvest order, attention sinks left out.

    A block has at most `block_tokens` tokens, unless one sequence (or one batch of the model) alone has more. With
    `max_tokens` it ends after the sequence with which that many tokens are reached. The shards are read when they
    hold every token in bfloat16; otherwise the model runs again. The log says which.
    """
    manifest = require_stage(paths, "harvest")
    corpus = TokenizedCorpus(paths.stage("tokenize"))
    order_S = _first_sequences(corpus, np.load(paths.stage("harvest") / ORDER_FILE), max_tokens)
    if held_in_shards(manifest):
        log(f"reading the residual stream of {len(order_S):,} sequences from the shards")
        return _from_shards(harvested_rows(paths), corpus, order_S, block_tokens)
    log(f"running the language model again over {len(order_S):,} sequences, since the shards do not hold every token")
    return _from_model(recipe, paths, manifest, len(order_S), block_tokens)


def _first_sequences(corpus: TokenizedCorpus, order_S: Ints, max_tokens: int | None) -> Ints:
    if max_tokens is None:
        return order_S
    reached_S = np.cumsum(corpus.sequences["length"][order_S], dtype=np.int64)
    return order_S[: int(np.searchsorted(reached_S, max_tokens)) + 1]


def _from_shards(
    reader: ShardReader, corpus: TokenizedCorpus, order_S: Ints, block_tokens: int
) -> Iterator[ResidualBlock]:
    rank_S = np.full(len(corpus.sequences), len(corpus.sequences), np.int64)
    harvested_S = np.load(reader.folder / ORDER_FILE)
    rank_S[harvested_S] = np.arange(len(harvested_S))
    for rows in reader.in_order(rank_S, _ranges(corpus.sequences["length"][order_S], block_tokens)):
        yield ResidualBlock(as_tensor(rows.values_ND), rows.index_N)


def _ranges(lengths_S: Ints, block_tokens: int) -> list[tuple[int, int]]:
    """Cut sequences in a row into ranges [start, stop) of at most `block_tokens` tokens, each at least one sequence."""
    reached_S = np.concatenate([[0], np.cumsum(lengths_S, dtype=np.int64)])
    cuts = [0]
    while cuts[-1] < len(lengths_S):
        stop = int(np.searchsorted(reached_S, reached_S[cuts[-1]] + block_tokens, side="right")) - 1
        cuts.append(max(stop, cuts[-1] + 1))
    return list(pairwise(cuts))


def _from_model(
    recipe: Recipe, paths: RunPaths, manifest: Manifest, num_sequences: int, block_tokens: int
) -> Iterator[ResidualBlock]:
    corpus = TokenizedCorpus(paths.stage("tokenize"))
    model = load_language_model(recipe, paths, only_until_layer=True)
    left_out = _names(np.load(paths.stage("harvest") / LEFT_OUT_FILE))
    batches = _first_of(training_batches(corpus, recipe.harvest.batch_tokens), num_sequences)
    sizes = np.array([corpus.sequences["length"][numbers].sum() for numbers in batches])
    blocks = run_model(model, corpus, batches, manifest.counts["bos_id"])
    for start, stop in _ranges(sizes, block_tokens):
        yield _join([_without(next(blocks), left_out) for _ in range(start, stop)])


def _first_of(batches: list[Ints], num_sequences: int) -> list[Ints]:
    """The same batches, as far as the first `num_sequences` go."""
    starts = np.cumsum([0, *map(len, batches)])
    return [
        batch[: num_sequences - start]
        for batch, start in zip(batches, starts.tolist(), strict=False)
        if start < num_sequences
    ]


def _names(index_N: np.ndarray) -> Ints:
    """One number for each row's token."""
    return pack_tokens(index_N["sequence"], index_N["position"])


def _without(block: ResidualBlock, left_out: Ints) -> ResidualBlock:
    kept_N = np.flatnonzero(~np.isin(_names(block.index_N), left_out))
    return ResidualBlock(block.x_ND[kept_N], block.index_N[kept_N])


def _join(blocks: list[ResidualBlock]) -> ResidualBlock:
    return ResidualBlock(torch.cat([block.x_ND for block in blocks]), np.concatenate([b.index_N for b in blocks]))
