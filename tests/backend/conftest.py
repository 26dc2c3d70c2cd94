from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from starlette.middleware.gzip import GZipMiddleware

from backend.app import create_app
from backend.published.catalogue import Catalogue, OpenSAE
from backend.settings import Settings
from data.layout import StorePaths


@pytest.fixture(scope="session")
def client(published_store: StorePaths) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(store=published_store.root, live=False))) as client:
        yield client


@pytest.fixture(scope="session")
def pages(published_store: StorePaths) -> Iterator[TestClient]:
    """A client whose answers have `template` and `context`, which GZipMiddleware does not let pass."""
    app = create_app(Settings(store=published_store.root, live=False))
    app.user_middleware = [layer for layer in app.user_middleware if layer.cls is not GZipMiddleware]
    with TestClient(app) as client:
        yield client


@pytest.fixture
def catalogue(client: TestClient) -> Catalogue:
    return client.app.state.library.catalogue()


@pytest.fixture
def sae(catalogue: Catalogue) -> OpenSAE:
    return catalogue.saes["tiny", "1-relu-64"]
