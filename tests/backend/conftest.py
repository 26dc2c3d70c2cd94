from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.published.catalogue import Catalogue, OpenSAE
from backend.settings import Settings
from data.layout import StorePaths
from tests.support.pages import app_with_contexts


@pytest.fixture(scope="session")
def client(published_store: StorePaths) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(store=published_store.root, live=False))) as client:
        yield client


@pytest.fixture(scope="session")
def pages(published_store: StorePaths) -> Iterator[TestClient]:
    """A client whose answers have `template` and `context`."""
    with TestClient(app_with_contexts(Settings(store=published_store.root, live=False))) as client:
        yield client


@pytest.fixture
def catalogue(client: TestClient) -> Catalogue:
    return client.app.state.library.catalogue()


@pytest.fixture
def sae(catalogue: Catalogue) -> OpenSAE:
    return catalogue.saes["tiny", "1-relu-64"]
