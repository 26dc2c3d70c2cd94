import json
import shutil
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.published.catalogue import Catalogue, OpenSAE
from backend.settings import Settings
from data.layout import StorePaths
from tests.support.marked import mark_turns
from tests.support.pages import app_with_contexts
from tests.support.steering import copied_database
from tests.support.stores import store_with_own_model

CHAT = "{% for m in messages %}<s>{{ m.content }}</s>{% endfor %}"


@pytest.fixture(scope="session")
def client(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of a server with a database of its own."""
    url = copied_database(published_store, tmp_path_factory.mktemp("client"))
    with TestClient(create_app(Settings(store=published_store.root, live=False, database_url=url))) as client:
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


@pytest.fixture(scope="module")
def chat_store(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> StorePaths:
    """The fake run with a model that has a chat template, and a database of its own."""
    store = store_with_own_model(published_store, tmp_path_factory.mktemp("chat") / "store")
    config = store.models / "tiny" / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "chat_template": CHAT}))
    return store


@pytest.fixture(scope="module")
def marked(chat_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of a server whose model's chat template writes a token of its own."""
    root = tmp_path_factory.mktemp("marked") / "store"
    shutil.copytree(chat_store.root, root, symlinks=True)
    mark_turns(StorePaths(root).models / "tiny")
    with TestClient(app_with_contexts(Settings(store=root))) as client:
        yield client
