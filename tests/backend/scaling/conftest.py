from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from backend.settings import Settings
from data.artifacts.scaling import ScalingReport
from data.layout import StorePaths
from tests.support.pages import app_with_contexts
from tests.support.scaling import made_report, put_report
from tests.support.steering import copied_database


@pytest.fixture(scope="session")
def report() -> ScalingReport:
    return made_report()


@pytest.fixture(scope="session")
def scaled(
    published_store: StorePaths, report: ScalingReport, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    """A client of the fake run with a made report; its answers have `template` and `context`."""
    folder = tmp_path_factory.mktemp("scaled")
    url = copied_database(published_store, folder)
    put_report(published_store, Path(url.removeprefix("sqlite:///")), report)
    settings = Settings(store=published_store.root, database_url=url, live=False)
    with TestClient(app_with_contexts(settings)) as client:
        yield client
