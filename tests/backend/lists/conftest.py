from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.settings import Settings
from data.layout import StorePaths
from tests.support.databases import KINDS, Start, copy_catalogue, new_database
from tests.support.pages import app_with_contexts


@pytest.fixture(scope="package", params=KINDS)
def settings(
    request: pytest.FixtureRequest,
    published_store: StorePaths,
    tmp_path_factory: pytest.TempPathFactory,
    postgres: Start,
) -> Settings:
    """Of a server of the fake run with a database of its own, of each kind."""
    url = new_database(request.param, tmp_path_factory.mktemp("lists"), postgres)
    return Settings(store=published_store.root, live=False, database_url=copy_catalogue(published_store, url))


@pytest.fixture(scope="package")
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture(scope="package")
def pages(settings: Settings) -> Iterator[TestClient]:
    """A client whose answers have `template` and `context`."""
    with TestClient(app_with_contexts(settings)) as client:
        yield client
