"""Texts that a decoder writes greedily."""

from collections.abc import Sequence

from torch import Tensor

from pipeline.models.decoder import Decoder


def write(decoder: Decoder, prompts: Sequence[Sequence[int]], num_tokens: int) -> list[tuple[list[int], Tensor]]:
    """What is written after each prompt, all at the same time, and the last logits."""
    caches = [decoder.cache(len(prompt) + num_tokens) for prompt in prompts]
    tokens: list[list[int]] = [list(prompt) for prompt in prompts]
    written: list[list[int]] = [[] for _ in prompts]
    for _ in range(num_tokens):
        logits = decoder.read(tokens, caches, lambda row, x, positions: x)
        tokens = [[int(row.argmax())] for row in logits]
        for text, token in zip(written, tokens, strict=True):
            text += token
    return list(zip(written, logits, strict=True))
