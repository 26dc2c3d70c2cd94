"""Fixtures that several rooms use."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

import pytest

from data.layout import StorePaths, default_store
from tests.support.databases import KINDS, Start, new_database
from tests.support.postgres import postgresql

BROWSER = Path(__file__).parent / "browser"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files in the order in which processes share them out: those with a long test first, the browser's last.

    A long one that came last would leave the other process with nothing to do. Once Playwright's event loop runs in a
    process, tests of the backend cannot have their own there.
    """
    long = {item.path for item in items if item.get_closest_marker("long")}
    items.sort(key=lambda item: (BROWSER in item.path.parents, item.path not in long))


@pytest.fixture(scope="session")
def sample_files(tmp_path_factory: pytest.TempPathFactory) -> StorePaths:
    """The default store, into which the sample model and corpus are fetched, as `make demo` does. Do not change it.

    Processes among which the tests are divided fetch one after the other.
    """
    from pipeline.recipe import load_recipe
    from pipeline.stages import fetch

    store = default_store()
    with (tmp_path_factory.getbasetemp().parent / "sample.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fetch.run(load_recipe("sample"), store.run("sample"))
    return store


@pytest.fixture
def sample_store(sample_files: StorePaths, tmp_path: Path) -> StorePaths:
    """An empty store of a test's own in which the sample model and corpus are already fetched."""
    store = StorePaths(tmp_path / "sample")
    store.root.mkdir()
    store.models.symlink_to(sample_files.models, target_is_directory=True)
    store.corpora.symlink_to(sample_files.corpora, target_is_directory=True)
    return store


@pytest.fixture
def store(tmp_path: Path) -> StorePaths:
    """An empty store."""
    return StorePaths(tmp_path / "store")


@pytest.fixture(scope="session")
def published_store(tmp_path_factory: pytest.TempPathFactory) -> StorePaths:
    """A store with one published fake run, see tests/support/fake_run.py. Shared: do not change it."""
    from tests.support.fakes import publish_fake_run

    store = StorePaths(tmp_path_factory.mktemp("published") / "store")
    publish_fake_run(store)
    return store


@pytest.fixture(scope="session")
def postgres() -> Iterator[Start]:
    """Starts a PostgreSQL server at its first call; later ones give the same."""
    with ExitStack() as stack:
        yield lru_cache(1)(lambda: stack.enter_context(postgresql()))


@pytest.fixture(params=KINDS)
def sql_url(request: pytest.FixtureRequest, tmp_path: Path, postgres: Start) -> str:
    """The URL of an empty database, of every kind in turn."""
    return new_database(request.param, tmp_path, postgres)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The system's Chromium: its headless shell, which opens pages in half the time, or the whole of it."""
    names = [os.environ.get("CHROMIUM", ""), "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"]
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    assert found, "the browser tests need Chromium: run `make test`, which installs it, or set CHROMIUM"
    return found
