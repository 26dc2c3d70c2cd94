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


def reads_of_all_logits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of features whose logits are all computed, as they come."""
    reads: list[int] = []
    read_all = promoted._read_all
    monkeypatch.setattr(promoted, "_read_all", lambda *given: reads.append(len(given[0])) or read_all(*given))
    return reads


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search in bfloat16, on any machine, in small tiles."""
    monkeypatch.setattr(promoted, "_search_dtype", lambda W_U_VD, k: torch.bfloat16)
    monkeypatch.setattr(promoted, "PROMOTED_TILE_FEATURES", 40)
    monkeypatch.setattr(promoted, "FEATURES_AT_ONCE", 7)
    monkeypatch.setattr(promoted, "SEARCH_GROUP", 16)


@pytest.mark.parametrize("vocabulary", [1024, 1003])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_search_misses_none(
    vocabulary: int, dtype: torch.dtype, searched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(1)
    W_dec_FD, scale_D = torch.randn(100, 32, generator=generator), torch.rand(32, generator=generator) + 0.5
    W_U_VD = torch.randn(vocabulary, 32, generator=generator)
    W_U_VD[:20] = W_dec_FD[3] * scale_D + 1e-3 * torch.randn(20, 32, generator=generator)  # all but equal in bfloat16
    W_U_VD[-30:] = -W_dec_FD[4] * scale_D + 1e-3 * torch.randn(30, 32, generator=generator)
    W_U_VD = W_U_VD.to(dtype)
    reads = reads_of_all_logits(monkeypatch)
    found = promoted_tokens(W_dec_FD, scale_D, W_U_VD, 5)
    assert sum(reads) < 10
    logits_FV = (W_dec_FD * scale_D).double() @ W_U_VD.double().T
    for sign, one in zip((1, -1), found, strict=True):
        expected_FK = (sign * logits_FV).topk(5, dim=1).values * sign
        torch.testing.assert_close(one.logit_FK.double(), expected_FK, atol=1e-4, rtol=0)
        torch.testing.assert_close(logits_FV.gather(1, one.token_FK), one.logit_FK.double(), atol=1e-4, rtol=0)
        assert all(len(set(tokens)) == 5 for tokens in one.token_FK.tolist())


def test_features_with_too_many_candidates_are_read_in_float32(searched: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promoted, "MOST_GROUPS", 2)
    generator = torch.Generator().manual_seed(2)
    W_dec_FD, W_U_VD = torch.randn(60, 16, generator=generator), torch.randn(700, 16, generator=generator)
    W_dec_FD[10] = 0
    W_dec_FD[45] = torch.nan
    found = promoted_tokens(W_dec_FD, torch.ones(16), W_U_VD, 4)
    exact = promoted._read_all(W_dec_FD, W_U_VD, 4)
    for one, (token_FK, logit_FK) in zip(found, exact, strict=True):
        torch.testing.assert_close(one.logit_FK, logit_FK, equal_nan=True)
        plain = [row for row in range(60) if row not in (10, 45)]
        assert torch.equal(one.token_FK[plain], token_FK[plain])
        assert one.logit_FK[10].tolist() == [0.0] * 4


@pytest.mark.parametrize("num_features", [1, 41])
def test_a_last_tile_of_crowded_features_alone(
    num_features: int, searched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promoted, "MOST_GROUPS", 2)
    generator = torch.Generator().manual_seed(3)
    W_dec_FD, W_U_VD = torch.randn(num_features, 16, generator=generator), torch.randn(700, 16, generator=generator)
    W_dec_FD[-1] = 0
    most, least = promoted_tokens(W_dec_FD, torch.ones(16), W_U_VD, 4)
    assert most.logit_FK[-1].tolist() == least.logit_FK[-1].tolist() == [0.0] * 4


def assert_as_read_whole(W_dec_FD: torch.Tensor, W_U_VD: torch.Tensor, k: int) -> None:
    found, exact = promoted_tokens(W_dec_FD, torch.ones(16), W_U_VD, k), promoted._read_all(W_dec_FD, W_U_VD, k)
    for one, (token_FK, logit_FK) in zip(found, exact, strict=True):
        torch.testing.assert_close(one.logit_FK, logit_FK, equal_nan=True)
        assert torch.equal(one.token_FK, token_FK)


@pytest.mark.parametrize(("num_long", "factor"), [(1, 100.0), (1, 1e6), (8, 100.0), (8, 1.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_long_rows_of_the_unembedding_do_not_slow_the_search(
    num_long: int, factor: float, dtype: torch.dtype, searched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are among the first of some features and not of others, and what bounds the other rows stays as it was."""
    monkeypatch.setattr(promoted, "MOST_GROUPS", 3)
    monkeypatch.setattr(promoted, "LONG_ROWS", 8)
    generator = torch.Generator().manual_seed(4)
    W_dec_FD, W_U_VD = torch.randn(90, 16, generator=generator), torch.randn(701, 16, generator=generator)
    planted = torch.randperm(701, generator=generator)[:num_long]
    W_dec_FD[:, 0] = torch.arange(90) % 3 - 1.0
    W_U_VD[planted] = 0
    W_U_VD[planted, 0] = factor  # two thirds of the features say so or its opposite, the others nothing
    W_U_VD = W_U_VD.to(dtype)
    reads = reads_of_all_logits(monkeypatch)
    promoted_tokens(W_dec_FD, torch.ones(16), W_U_VD, 4)
    assert sum(reads) == 0
    most, least = promoted_tokens(W_dec_FD, torch.ones(16), W_U_VD, 4)
    logits_FV = W_dec_FD @ W_U_VD.float().T
    for sign, one in ((1, most), (-1, least)):
        expected_FK = (sign * logits_FV).topk(4, dim=1).values * sign
        torch.testing.assert_close(one.logit_FK, expected_FK)
        torch.testing.assert_close(logits_FV.gather(1, one.token_FK), expected_FK)
        assert all(len(set(tokens)) == 4 for tokens in one.token_FK.tolist())


def test_more_long_rows_than_are_set_apart(searched: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """They widen what rounding may move all products by, so that every feature is crowded and read whole."""
    monkeypatch.setattr(promoted, "MOST_GROUPS", 2)
    monkeypatch.setattr(promoted, "LONG_ROWS", 2)
    generator = torch.Generator().manual_seed(4)
    W_dec_FD, W_U_VD = torch.randn(20, 16, generator=generator), torch.randn(700, 16, generator=generator)
    W_U_VD[300:303] *= 100
    reads = reads_of_all_logits(monkeypatch)
    assert_as_read_whole(W_dec_FD, W_U_VD, 4)
    assert sum(reads) > 20


@pytest.mark.parametrize("number", [torch.inf, torch.nan])
def test_a_row_that_is_no_number(number: float, searched: None) -> None:
    generator = torch.Generator().manual_seed(4)
    W_dec_FD, W_U_VD = torch.randn(20, 16, generator=generator), torch.randn(700, 16, generator=generator)
    W_U_VD[300] *= number
    assert_as_read_whole(W_dec_FD, W_U_VD, 4)


def test_a_vocabulary_of_long_rows_alone(searched: None) -> None:
    generator = torch.Generator().manual_seed(5)
    W_dec_FD, W_U_VD = torch.randn(20, 16, generator=generator), torch.randn(60, 16, generator=generator)
    assert_as_read_whole(W_dec_FD, W_U_VD, 2)
