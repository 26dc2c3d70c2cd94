from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine as Database

from backend.engine.engine import Engine
from backend.published.catalogue import Library, OpenRun
from backend.settings import Settings
from data.layout import StorePaths
from data.sql.database import connect
from tests.support.steering import copied_database


@pytest.fixture
def database(published_store: StorePaths, tmp_path: Path) -> Iterator[Database]:
    made = connect(copied_database(published_store, tmp_path))
    yield made
    made.dispose()


@pytest.fixture
def run(published_store: StorePaths, database: Database) -> OpenRun:
    """The fake run."""
    return Library(database, published_store).catalogue().saes["tiny", "1-relu-64"].run


@pytest.fixture
def engine(published_store: StorePaths) -> Iterator[Engine]:
    """An engine on the store of the fake run."""
    made = Engine(Settings(store=published_store.root, max_prompt_tokens=100))
    yield made
    made.stop()
