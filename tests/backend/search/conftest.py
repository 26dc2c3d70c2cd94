from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from backend.settings import Settings
from data.layout import StorePaths
from tests.support.pages import app_with_contexts
from tests.support.prompt_search import Naive


@pytest.fixture(scope="module")
def live(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    database = tmp_path_factory.mktemp("search") / "monosema.sqlite"
    database.write_bytes(published_store.database.read_bytes())
    settings = Settings(store=published_store.root, database_url=f"sqlite:///{database}", max_prompt_tokens=100)
    app = app_with_contexts(settings)
    with TestClient(app) as client:
        yield client


@pytest.fixture(scope="module")
def naive(live: TestClient, published_store: StorePaths) -> Naive:
    return Naive(live, published_store)
