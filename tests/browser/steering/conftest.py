"""A server on a tiny random Llama, behind a connection that can be cut."""

from collections.abc import Iterator

import pytest

from backend.settings import Settings
from data.layout import StorePaths
from tests.support.proxy import Proxy, proxied
from tests.support.steering import SECONDS, Server, copied_database, steering_server


@pytest.fixture(scope="module")
def server(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    url = copied_database(published_store, tmp_path_factory.mktemp("browser"))
    # A page that is loaded anew may take longer to come back to its run than people are waited for.
    patient = Settings(store=published_store.root, database_url=url, max_prompt_tokens=100, live_grace_seconds=SECONDS)
    with steering_server(patient) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(server: Server) -> Iterator[Proxy]:
    with proxied(server.address) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def address(proxy: Proxy) -> str:
    """What `open_page` opens."""
    return proxy.address


@pytest.fixture(autouse=True)
def _forget(server: Server, proxy: Proxy) -> None:
    server.forget()
    proxy.refusing = False
