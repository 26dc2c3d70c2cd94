"""A published run as a folder that says everything about itself, and the step that makes it visible.

    published/{run}/{key}/
        manifest.json     key, counts, contract version, and a hash of every file
        rows.json         what SQL shall hold: {"run": {...}, "saes": [{...}, ...]}
        lance/, rows/     tables, see data/published/tables.py and data/published/rows.py
        map/              the map, see data/published/maps.py
        saes/{sae}/       cfg.json, sae.safetensors

Such a folder is written whole under a hidden name, takes its own by rename, and never changes again. It becomes visible
by `make_visible`, one SQL transaction. The state that it replaces stays until the next one comes, for a server may be
answering from it; folders of still earlier states are removed.
"""

import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Row, Select, inspect, select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session, selectinload

from data import CONTRACT_VERSION
from data.errors import ArtifactError, ConfigError, ContractError, StorageError
from data.hooks import Hook, hook_of
from data.layout import RunPaths, StorePaths
from data.manifests import Manifest, check_sizes, load_manifest
from data.sql.database import connect, database_url, explained, open_engine
from data.sql.records import PublishedRunRecord, SAERecord

ROWS_FILE = "rows.json"
SAES_FOLDER = "saes"
SQLRows = dict[str, Any]


class Published(NamedTuple):
    """One published run as SQL and its folder have it."""

    record: PublishedRunRecord
    """Detached, its SAEs loaded."""
    folder: Path
    manifest: Manifest

    @property
    def hook(self) -> Hook:
        """The place at its layer that its SAEs read."""
        return hook_of(self.record.recipe)


def read_rows(folder: Path) -> SQLRows:
    """The rows of a published folder for SQL. Raises ArtifactError when that cannot be read."""
    try:
        rows = json.loads((folder / ROWS_FILE).read_text())
        assert set(rows) == {"run", "saes"}
    except (OSError, ValueError, AssertionError) as error:
        raise ArtifactError(f"{folder / ROWS_FILE} cannot be read ({error}): publish the run again") from None
    return dict(rows)


def is_intact(folder: Path) -> bool:
    """Whether a published folder is there and whole."""
    try:
        check_sizes(folder, load_manifest(folder))
    except ArtifactError:
        return False
    return True


def taken_addresses(store: StorePaths, run: str, model: str, saes: Collection[str]) -> list[str]:
    """A sentence for each other run that has published an SAE under one of these addresses. Writes nothing.

    Raises StorageError when the database cannot be read.
    """
    query = select(SAERecord.name, PublishedRunRecord.name).join(PublishedRunRecord)
    mine = query.where(SAERecord.model == model, SAERecord.name.in_(saes), PublishedRunRecord.name != run)
    owners: dict[str, list[str]] = {}
    for sae, owner in _read_as_it_is(store, mine.order_by(SAERecord.id)):
        owners.setdefault(owner, []).append(f"/{model}/{sae}")
    return [_taken(owner, addresses) for owner, addresses in owners.items()]


def _taken(owner: str, addresses: Sequence[str]) -> str:
    subject, verb = ("addresses", "belong") if len(addresses) > 1 else ("address", "belongs")
    return (
        f"the {subject} {' and '.join(addresses)} {verb} to run '{owner}' already: give this recipe another "
        f"model.name, or the same name as that run to replace it, or remove that run (`monosema unpublish {owner}`)"
    )


def refuse_taken(store: StorePaths, run: str, model: str, saes: Collection[str]) -> None:
    """Raise ConfigError when another run has published an SAE under one of these addresses."""
    if taken := taken_addresses(store, run, model, saes):
        raise ConfigError("; ".join(taken))


def visible_key(paths: RunPaths) -> str | None:
    """The published state of this run that SQL names, or None."""
    with _session(paths.store) as session:
        return session.scalar(select(PublishedRunRecord.key).where(PublishedRunRecord.name == paths.run))


def is_visible(paths: RunPaths, key: str) -> bool:
    """Whether SQL names this published state."""
    return visible_key(paths) == key


def make_visible(paths: RunPaths, key: str) -> None:
    """Put the rows of a published folder into SQL, in one transaction, then remove what no server reads any more.

    That is every other folder of the run but the one that was visible until now. A run, and an SAE of the same name,
    keep their SQL ids.
    """
    folder = paths.published(key)
    rows = read_rows(folder)
    with _session(paths.store) as session, session.begin():
        record = session.scalar(select(PublishedRunRecord).where(PublishedRunRecord.name == paths.run))
        if record is None:
            record = PublishedRunRecord(name=paths.run)
            session.add(record)
        kept = {key, record.key}
        _assign(record, {**rows["run"], "key": key, "created": datetime.fromisoformat(rows["run"]["created"])})
        earlier = {sae.name: sae for sae in record.saes}
        record.saes = [earlier.get(sae["name"]) or SAERecord() for sae in rows["saes"]]
        for sae, values in zip(record.saes, rows["saes"], strict=True):
            _assign(sae, {**values, "model": record.model})
    for other in folder.parent.iterdir():
        if other.name not in kept:
            shutil.rmtree(other)


def make_invisible(paths: RunPaths) -> None:
    """Take a run out of SQL, in one transaction, then remove its published folders. What people made points at no run,
    and stays. Raises ConfigError where no such run is published, StorageError where its folders cannot be removed."""
    with _session(paths.store) as session, session.begin():
        record = session.scalar(select(PublishedRunRecord).where(PublishedRunRecord.name == paths.run))
        if record is None:
            names = session.scalars(select(PublishedRunRecord.name).order_by(PublishedRunRecord.name)).all()
            known = f"use one of {', '.join(names)}" if names else "nothing is published here"
            raise ConfigError(f"there is no published run '{paths.run}': {known}")
        session.delete(record)
    folder = paths.store.published / paths.run
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(
            f"run '{paths.run}' is off the pages, but {folder} cannot be removed ({error}): remove it by hand"
        ) from None


def list_published(store: StorePaths) -> Sequence[PublishedRunRecord]:
    """All published runs, the newest first, detached, their SAEs loaded."""
    with _session(store) as session:
        query = select(PublishedRunRecord).options(selectinload(PublishedRunRecord.saes))
        records = session.scalars(query.order_by(PublishedRunRecord.created.desc(), PublishedRunRecord.id.desc())).all()
        session.expunge_all()
    return records


def open_published(store: StorePaths, run: str | None = None) -> Published:
    """A published run by name, or the newest.

    Raises ConfigError for an unknown name, ArtifactError when nothing is published or the folder is damaged,
    ContractError when the run is of another contract version.
    """
    records = list_published(store)
    if not records:
        raise ArtifactError(f"nothing is published in {store.root}: run `monosema run --recipe sample` first")
    record = next((record for record in records if run in (None, record.name)), None)
    if record is None:
        names = ", ".join(record.name for record in records)
        raise ConfigError(f"there is no published run '{run}': use one of {names}")
    if record.contract != CONTRACT_VERSION:
        raise ContractError(
            f"run '{record.name}' was published under contract version {record.contract}, this code reads version "
            f"{CONTRACT_VERSION}: run its recipe again"
        )
    folder = store.run(record.name).published(record.key)
    manifest = load_manifest(folder)
    check_sizes(folder, manifest)
    return Published(record, folder, manifest)


def _assign(record: PublishedRunRecord | SAERecord, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(record, name, value)


def _read_as_it_is(store: StorePaths, query: Select[str, str]) -> Sequence[Row[str, str]]:
    """Rows of a database that is neither made nor brought up to date for it; none where there is none yet."""
    url = database_url(store)
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return []
    engine = open_engine(url)
    try:
        if not inspect(engine).has_table(SAERecord.__tablename__):
            return []
        with engine.connect() as connection:
            return connection.execute(query).all()
    except DatabaseError as error:
        raise explained(engine, error) from None
    finally:
        engine.dispose()


@contextmanager
def _session(store: StorePaths) -> Iterator[Session]:
    """A session on the store's database, whose connections are closed with it."""
    engine = connect(database_url(store))
    try:
        with Session(engine, expire_on_commit=False) as session:
            yield session
    finally:
        engine.dispose()
