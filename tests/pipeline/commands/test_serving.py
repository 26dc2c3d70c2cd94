import pytest

from data import CONTRACT_VERSION
from data.errors import ContractError, ServeError
from data.layout import StorePaths
from pipeline.commands import serving


def test_serving_needs_a_run_of_this_contract(
    published_store: StorePaths, store: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving.require_published(published_store)
    with pytest.raises(ServeError, match="run `make demo`"):
        serving.require_published(store)
    monkeypatch.setattr(serving, "CONTRACT_VERSION", 99)
    with pytest.raises(ContractError, match=f"under contract version {CONTRACT_VERSION}, this code reads version 99"):
        serving.require_published(published_store)
