import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, func, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from data.errors import ContractError, StorageError
from data.layout import StorePaths
from data.sql.database import MIGRATIONS, connect, database_url, newest_revision, prepare, revision_of, take_turn
from data.sql.records import Base, PublishedRunRecord, SAERecord


@pytest.fixture
def engine(sql_url: str) -> Iterator[Engine]:
    engine = connect(sql_url)
    yield engine
    engine.dispose()


def make_run(name: str, sae: str) -> PublishedRunRecord:
    common = {"model": "tiny", "first_row": 0, "num_features": 4, "architecture": "relu", "config": {}, "metrics": {}}
    return PublishedRunRecord(
        name=name, key="0" * 16, contract=1, model="tiny", model_source="models/tiny", layer=1, recipe={"seed": 0},
        corpus={}, showpieces=[], responses={}, created=datetime(2026, 1, 2),
        saes=[SAERecord(name=f"{sae}-{i}", position=i, curve=[], histogram_scale=0.1, **common) for i in (1, 0)],
    )  # fmt: skip


def test_migrations_give_exactly_the_metadata(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_preparing_twice_changes_nothing(engine: Engine) -> None:
    before = inspect(engine).get_table_names()
    prepare(engine)
    assert inspect(engine).get_table_names() == before


def test_the_newest_revision_is_where_the_migrations_end(engine: Engine) -> None:
    assert newest_revision() == ScriptDirectory(str(MIGRATIONS)).get_current_head() == revision_of(engine)
    new = create_engine("sqlite://")
    assert revision_of(new) is None
    new.dispose()


def test_saes_come_in_order_and_go_with_their_run(engine: Engine) -> None:
    with Session(engine) as session, session.begin():
        session.add(make_run("first", "1-relu"))
    with Session(engine) as session, session.begin():
        run = session.scalars(select(PublishedRunRecord)).one()
        assert [sae.position for sae in run.saes] == [0, 1]
        assert run.saes[0].histogram_scale == 0.1
        session.delete(run)
    with Session(engine) as session:
        assert session.scalar(select(func.count()).select_from(SAERecord)) == 0


def test_an_address_belongs_to_one_run(engine: Engine) -> None:
    with Session(engine) as session:
        session.add_all([make_run("first", "1-relu"), make_run("second", "1-relu")])
        with pytest.raises(IntegrityError):
            session.flush()


def test_a_damaged_database_is_reported(store: StorePaths) -> None:
    store.root.mkdir()
    store.database.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StorageError, match="cannot be used"):
        connect(database_url(store))


def test_a_database_of_newer_code_is_refused(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ContractError, match="another version"):
        prepare(engine)


def test_servers_that_start_at_the_same_moment_make_one_schema(sql_url: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        engines = list(pool.map(connect, [sql_url] * 6))
    for engine in engines:
        assert revision_of(engine) == newest_revision()
        engine.dispose()


def test_turns_are_taken_one_after_the_other(engine: Engine) -> None:
    """Each reads a number and writes the next one: without turns two would read the same."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE numbers (number INTEGER)"))
        connection.execute(text("INSERT INTO numbers VALUES (0)"))

    def count(_: int) -> None:
        with engine.begin() as connection:
            take_turn(connection)
            take_turn(connection)
            number = connection.scalar(text("SELECT number FROM numbers"))
            connection.execute(text("UPDATE numbers SET number = :next"), {"next": number + 1})

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(count, range(20)))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT number FROM numbers")) == 20


def test_an_address_of_the_short_kind_is_taken(sql_url: str) -> None:
    engine = connect(sql_url.replace("postgresql+psycopg:", "postgres:"))
    assert engine.url.drivername in ("sqlite", "postgresql+psycopg")
    engine.dispose()


def test_a_server_that_is_not_there_is_reported_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot be reached.*correct MONOSEMA_DATABASE_URL") as caught:
        connect(f"postgresql://somebody:secret@/monosema?host={tmp_path}")
    assert "secret" not in str(caught.value)


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StorageError, match=r"pip install 'monosema\[postgres\]'"):
        connect("postgresql://here/monosema")


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch, store: StorePaths) -> None:
    monkeypatch.setenv("MONOSEMA_DATABASE_URL", "nonsense://user:secret@host/name")
    with pytest.raises(StorageError, match="MONOSEMA_DATABASE_URL") as caught:
        connect(database_url(store))
    assert "secret" not in str(caught.value)
