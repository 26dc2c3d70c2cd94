"""Kills in the middle of a stage."""

from typing import Any

import pytest

from pipeline.corpus import tokenization


def kill_tokenization(monkeypatch: pytest.MonkeyPatch, batch: int) -> list[int]:
    """Interrupt tokenization when so many batches are done and a checkpoint is due after each. Add to the list that is
    returned to let it go on."""
    monkeypatch.setattr(tokenization, "CHECKPOINT_SECONDS", 0.0)
    take, batches = tokenization.Tokenization.take, list[int]()

    def take_until_killed(self: tokenization.Tokenization, documents: list[Any]) -> int:
        taken = take(self, documents)
        batches.append(len(documents))
        if len(batches) == batch:
            raise KeyboardInterrupt
        return taken

    monkeypatch.setattr(tokenization.Tokenization, "take", take_until_killed)
    return batches
