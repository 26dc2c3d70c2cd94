"""The residual stream on the last token of short prompts, and the tokens of what may be written in a text.

Shapes: B prompts of a batch, L positions, D width.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.models.errors import ModelError
from pipeline.models.language_model import LanguageModel
from pipeline.models.left_out import are_sinks
from pipeline.models.tokenizer import Tokenizer

BATCH_TOKENS = 2048


class LastRows(NamedTuple):
    """The last tokens of some prompts."""

    numbers: list[int]
    """Of the prompts; those whose last token is an attention sink are left out."""
    x_BD: Tensor


def read_last_tokens(
    model: LanguageModel, prompts: Sequence[Sequence[int]], sink_norm: float | None, batch_tokens: int = BATCH_TOKENS
) -> Iterator[LastRows]:
    """Run the model over prompts, the shortest first, in batches. prompts: token ids, the opening one first.

    Raises ModelError when one is too long for the model, or is nothing but its opening token.
    """
    lengths = [len(prompt) for prompt in prompts]
    if lengths and not 1 < min(lengths) <= max(lengths) <= model.context_length:
        raise ModelError(
            f"a prompt has {min(lengths):,} to {max(lengths):,} tokens, the model reads 2 to {model.context_length:,}: "
            "give other concepts, or shorter prompts"
        )
    order = sorted(range(len(prompts)), key=lengths.__getitem__)
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * lengths[order[stop]] <= batch_tokens:
            stop += 1
        yield _read(model, order[start:stop], [prompts[number] for number in order[start:stop]], sink_norm)
        start = stop


def _read(
    model: LanguageModel, numbers: list[int], prompts: Sequence[Sequence[int]], sink_norm: float | None
) -> LastRows:
    last_B = torch.tensor([len(prompt) - 1 for prompt in prompts])
    tokens_BL = torch.tensor([[*prompt, *[prompt[0]] * (len(prompts[-1]) - len(prompt))] for prompt in prompts])
    x_BD = model.residuals(tokens_BL)[torch.arange(len(prompts)), last_B].float()
    kept = (~are_sinks(x_BD, sink_norm)).nonzero()[:, 0]
    return LastRows([numbers[place] for place in kept.tolist()], x_BD[kept])


def tokens_of_ways(tokenizer: Tokenizer, ways: Sequence[Sequence[str]]) -> list[list[list[int]]]:
    """The token ids of every text, in the same groups."""
    flat = iter(tokenizer.encode_batch([text for group in ways for text in group]))
    return [[next(flat) for _ in group] for group in ways]
