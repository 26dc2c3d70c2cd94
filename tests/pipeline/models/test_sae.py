import pytest
import torch

from pipeline.models import sae as saes
from pipeline.models.sae import Nonlinearity
from tests.support.models import WIDTH, tiny_sae


@pytest.mark.parametrize("nonlinearity", ["relu", "jumprelu", "topk"])
def test_a_search_in_bfloat16_finds_the_activations_of_float32(
    nonlinearity: Nonlinearity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In tiles that do not divide the features, on rows that rounding moves across thresholds."""
    monkeypatch.setattr(saes, "TILE_FEATURES", 100)
    sae = tiny_sae(256, nonlinearity=nonlinearity)
    x_BD = 30 * torch.randn(300, WIDTH, generator=torch.Generator().manual_seed(1))
    found, plain = sae.encode_sparse(x_BD, search=torch.bfloat16), sae.encode_sparse(x_BD)
    dense_BF = sae.encode(x_BD)
    assert torch.equal(torch.stack(plain[:2], 1), dense_BF.nonzero())
    assert torch.equal(found.token_K, plain.token_K)
    assert torch.equal(found.feature_K, plain.feature_K)
    torch.testing.assert_close(found.value_K, plain.value_K, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(sae.decode_sparse(found, x_BD), sae.decode_sparse(plain, x_BD), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_a_row_that_is_no_number_hides_no_other(number: float) -> None:
    sae = tiny_sae(256)
    x_BD = torch.randn(32, WIDTH, generator=torch.Generator().manual_seed(1))
    x_BD[5, 3] = number
    found, plain = sae.encode_sparse(x_BD, search=torch.bfloat16), sae.encode_sparse(x_BD)
    for kept in (found.token_K != 5, plain.token_K != 5):
        assert kept.sum() > 1000
    assert torch.equal(found.token_K[found.token_K != 5], plain.token_K[plain.token_K != 5])
    assert torch.equal(found.feature_K[found.token_K != 5], plain.feature_K[plain.token_K != 5])
