from collections.abc import Iterator
from datetime import datetime

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, func, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from data.errors import ContractError, StorageError
from data.layout import StorePaths
from data.sql import Base, PublishedRunRecord, SAERecord, connect, database_url, prepare


@pytest.fixture
def engine(store: StorePaths) -> Iterator[Engine]:
    engine = connect(database_url(store))
    yield engine
    engine.dispose()


def make_run(name: str, sae: str) -> PublishedRunRecord:
    common = {"model": "tiny", "first_row": 0, "num_features": 4, "architecture": "relu", "config": {}, "metrics": {}}
    return PublishedRunRecord(
        name=name, key="0" * 16, contract=1, model="tiny", model_source="models/tiny", layer=1, recipe={"seed": 0},
        corpus={}, showpieces=[], created=datetime(2026, 1, 2),
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


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch, store: StorePaths) -> None:
    monkeypatch.setenv("MONOSEMA_DATABASE_URL", "nonsense://user:secret@host/name")
    with pytest.raises(StorageError, match="MONOSEMA_DATABASE_URL") as caught:
        connect(database_url(store))
    assert "secret" not in str(caught.value)
