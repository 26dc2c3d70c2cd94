from collections.abc import Iterator
from datetime import datetime

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData, Table, create_engine, func, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from data.errors import ContractError, StorageError
from data.layout import StorePaths
from data.sql.database import MIGRATIONS, connect, database_url, newest_revision, prepare, revision_of
from data.sql.records import Base, ListEntryRecord, ListRecord, PublishedRunRecord, SAERecord


@pytest.fixture
def engine(store: StorePaths) -> Iterator[Engine]:
    engine = connect(database_url(store))
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


def test_what_was_published_before_there_were_lists_stays(tmp_path) -> None:
    old = create_engine(f"sqlite:///{tmp_path / 'old.sqlite'}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with old.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        run = make_run("first", "1-relu")
        for table, records in (("runs", [run]), ("saes", run.saes)):
            known = Table(table, MetaData(), autoload_with=connection)
            values = [{c.name: getattr(one, c.name) for c in known.columns if c.name != "id"} for one in records]
            connection.execute(known.insert(), [{**one, "run_id": 1} if table == "saes" else one for one in values])
    prepare(old)
    with Session(old) as session, session.begin():
        responses = session.scalars(select(PublishedRunRecord)).one().responses
        assert "before responses were measured" in responses["why_none"]
        assert responses["best"] == []
        assert [sae.name for sae in session.scalars(select(PublishedRunRecord)).one().saes] == ["1-relu-0", "1-relu-1"]
        moment = datetime(2026, 1, 2)
        kept = ListRecord(id="a" * 16, secret_hash="", name="n", note="", created=moment, changed=moment)
        session.add(kept)
        session.flush()
        entries = [ListEntryRecord(list_id=kept.id, position=i, model="m", sae="s", index=i, note="") for i in (0, 1)]
        session.add_all(entries)
    with Session(old) as session:
        assert session.scalar(select(func.count()).select_from(ListEntryRecord)) == 2
        session.add(ListEntryRecord(list_id="a" * 16, position=9, model="m", sae="s", index=1, note=""))
        with pytest.raises(IntegrityError):
            session.flush()
    old.dispose()


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
