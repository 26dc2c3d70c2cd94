"""A run is taken off the pages, and what people made stays."""

import shutil
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from data.errors import ArtifactError, ConfigError, StorageError
from data.layout import StorePaths
from data.published.state import open_published
from data.sql.database import connect, database_url
from data.sql.records import ListEntryRecord, ListRecord
from pipeline.commands.removing import unpublish
from pipeline.stage import alone
from pipeline.stages import publish
from tests.support.fake_run import fake_recipe
from tests.support.published import in_sql


@pytest.fixture
def store(copied_store: StorePaths) -> StorePaths:
    return copied_store


def test_unpublishing_removes_the_run_and_leaves_what_people_made(store: StorePaths) -> None:
    before = open_published(store)
    noon = datetime(2026, 1, 1, 12)
    mine = {"id": "a", "secret_hash": "", "name": "mine", "note": "", "created": noon, "changed": noon}
    entry = {"list_id": "a", "position": 0, "model": "tiny", "sae": "1-relu-64", "index": 3, "note": "look"}
    in_sql(store, lambda s: s.add_all([ListRecord(**mine), ListEntryRecord(**entry)]))
    with pytest.raises(ConfigError, match="there is no published run 'other': use one of fake"):
        unpublish(store, "other")
    assert open_published(store).manifest == before.manifest
    unpublish(store, "fake")
    assert not before.folder.parent.exists()
    with pytest.raises(ArtifactError, match="nothing is published"):
        open_published(store)
    engine = connect(database_url(store))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM saes")).scalar_one() == 0
        assert connection.execute(text("SELECT note FROM list_entries")).scalars().all() == ["look"]
    engine.dispose()
    with pytest.raises(ConfigError, match="there is no published run 'fake': nothing is published here"):
        unpublish(store, "fake")
    publish.run(fake_recipe(), store.run("fake"))
    assert open_published(store).record.key == before.record.key


def test_a_run_is_not_unpublished_while_it_is_published(store: StorePaths) -> None:
    before = open_published(store)
    with (
        alone(store.run("fake"), "publish"),
        pytest.raises(ArtifactError, match="another command is working on stage 'publish' of run 'fake'"),
    ):
        unpublish(store, "fake")
    assert open_published(store).manifest == before.manifest
    with pytest.raises(ConfigError, match="there is no published run"):
        unpublish(store, "other")
    assert not store.run("other").root.exists()
    shutil.rmtree(store.run("fake").root)
    unpublish(store, "fake")
    assert not store.run("fake").root.exists()


def test_published_files_that_cannot_be_removed_are_told(store: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_published(store).folder.parent

    def refuse(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise PermissionError(13, "Permission denied", str(path))

    said = rf"'fake' is off the pages, but {folder} cannot be removed .*: remove it"
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", refuse)
        with pytest.raises(StorageError, match=said):
            unpublish(store, "fake")
    with pytest.raises(ArtifactError, match="nothing is published"):
        open_published(store)
    shutil.rmtree(folder)
    publish.run(fake_recipe(), store.run("fake"))
    unpublish(store, "fake")
