"""Forward passes, counted."""

import pytest
import torch

from pipeline.models.several import SeveralHooks


def count_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Hooks that are read in each forward pass from now on, as they come."""
    passes: list[int] = []
    own = SeveralHooks.read

    def counting(self: SeveralHooks, tokens_BL: torch.Tensor) -> list[torch.Tensor]:
        found = own(self, tokens_BL)
        passes.append(len(found))
        return found

    monkeypatch.setattr(SeveralHooks, "read", counting)
    return passes
