from collections.abc import Iterator

import pytest

from backend.settings import Settings
from data.layout import StorePaths
from tests.support.steering import (
    SECONDS,
    Server,
    copied_database,
    steering_server,
)


@pytest.fixture(scope="module")
def settings(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    url = copied_database(published_store, tmp_path_factory.mktemp("runs"))
    return Settings(
        store=published_store.root, database_url=url, live_grace_seconds=SECONDS, live_per_address=4, max_new_tokens=24
    )


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[Server]:
    with steering_server(settings) as server:
        yield server


@pytest.fixture(autouse=True)
def _forget(server: Server) -> None:
    server.forget()
