"""Promoted tokens against a plain product and sort."""

import pytest
import torch

from pipeline.models import promoted
from pipeline.models.promoted import promoted_tokens


@pytest.mark.parametrize(("vocabulary", "group"), [(50, 128), (1003, 16), (1024, 64)])
def test_agrees_with_a_full_sort(vocabulary: int, group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promoted, "PROMOTED_TILE_FEATURES", 3)
    monkeypatch.setattr(promoted, "GROUP", group)
    generator = torch.Generator().manual_seed(0)
    W_dec_FD, scale_D = torch.randn(8, 16, generator=generator), torch.rand(16, generator=generator) + 0.5
    W_U_VD = torch.randn(vocabulary, 16, generator=generator)
    W_U_VD[-1] = 5 * W_dec_FD[0] / scale_D
    logits_FV = (W_dec_FD * scale_D) @ W_U_VD.T
    most, least = promoted_tokens(W_dec_FD, scale_D, W_U_VD, 5)
    order_FV = logits_FV.argsort(dim=1, descending=True)
    assert torch.equal(most.token_FK, order_FV[:, :5])
    assert torch.equal(least.token_FK, order_FV.flip(1)[:, :5])
    torch.testing.assert_close(most.logit_FK, logits_FV.gather(1, most.token_FK))
    torch.testing.assert_close(least.logit_FK, logits_FV.gather(1, least.token_FK))
    assert most.token_FK[0, 0] == vocabulary - 1


def test_a_vocabulary_smaller_than_k() -> None:
    most, least = promoted_tokens(torch.eye(3), torch.ones(3), torch.tensor([[1.0, 0, 0], [0, 2, 0]]), 10)
    assert most.token_FK.tolist()[:2] == [[0, 1], [1, 0]]
    assert least.logit_FK[1].tolist() == [0.0, 2.0]
