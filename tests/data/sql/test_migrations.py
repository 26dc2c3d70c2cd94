"""Databases of every earlier version, with data in all their tables, brought up to date on every kind of database."""

from datetime import datetime
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, create_engine, inspect, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from data.sql.database import MIGRATIONS, newest_revision, prepare, revision_of
from data.sql.records import Base, FeatureLabelRecord, ListEntryRecord, PublishedRunRecord

REVISIONS = sorted(script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions())
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901)
TEXT = "an owl — \N{OWL}, שלום, \u202e, 'quoted' \"twice\" and 100%"
ROWS: dict[str, dict[str, Any]] = {
    "runs": {
        "id": 7, "name": "first", "key": "0" * 16, "contract": 1, "model": "tiny", "model_source": "models/tiny",
        "layer": 1, "recipe": {"seed": 0, "text": TEXT}, "corpus": {"fetch": {"model_name": TEXT}},
        "showpieces": [{"index": 3}], "responses": {"best": [1, None]}, "created": MOMENT,
    },
    "saes": {
        "id": 9, "run_id": 7, "model": "tiny", "name": "1-relu", "position": 0, "first_row": 0, "num_features": 4,
        "architecture": "relu", "config": {}, "metrics": {"l0": 31.25}, "curve": [{"step": 1}], "histogram_scale": 0.1,
    },
    "lists": {
        "id": "a" * 16, "secret_hash": "0" * 64, "name": TEXT, "note": TEXT + "\n", "created": MOMENT,
        "changed": MOMENT,
    },
    "list_entries": {
        "id": 3, "list_id": "a" * 16, "position": 0, "model": "m", "sae": "s", "index": 2**31 - 1, "note": TEXT,
    },
    "prompts": {"id": "b" * 24, "text": b"\0 \xff", "created": MOMENT},
    "steerings": {"id": "c" * 20, "created": MOMENT, "content": {"prompt": "NUL \0 and half a pair \ud83d"}},
    "feature_labels": {
        "id": 5, "model": "m", "sae": "s", "index": 3, "direction": "d" * 32, "label": TEXT[:200], "note": TEXT,
        "changed": MOMENT, "revision": 4,
    },
    "concept_lists": {"id": "e" * 24, "text": TEXT, "created": MOMENT},
    "concept_verdicts": {
        "id": 6, "model": "m", "sae": "s", "weights": "f" * 32, "list": "foods", "concept": TEXT[:60],
        "represented": True, "note": TEXT, "changed": MOMENT,
    },
}  # fmt: skip
"""One row of every table as the newest schema has it."""


@pytest.fixture
def old(sql_url: str) -> Engine:
    engine = create_engine(sql_url)
    yield engine
    engine.dispose()


def make(connection: Connection, revision: str) -> dict[str, dict[str, Any]]:
    """The schema of a revision with a row in each of its tables; what was written, by table and column."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
    known = MetaData()
    known.reflect(connection)
    written = {}
    for table in known.sorted_tables:
        if table.name != "alembic_version":
            written[table.name] = {column.name: ROWS[table.name][column.name] for column in table.columns}
            connection.execute(table.insert(), written[table.name])
    return written


def test_every_table_has_a_row_to_try() -> None:
    assert ROWS.keys() == Base.metadata.tables.keys()
    assert all(ROWS[name].keys() == set(table.columns.keys()) for name, table in Base.metadata.tables.items())


@pytest.mark.parametrize("revision", REVISIONS)
def test_what_an_earlier_version_kept_stays(old: Engine, revision: str) -> None:
    with old.begin() as connection:
        written = make(connection, revision)
    prepare(old)
    assert revision_of(old) == newest_revision()
    with old.connect() as connection:
        for name, values in written.items():
            row = connection.execute(select(Base.metadata.tables[name])).mappings().one()
            assert {column: row[column] for column in values} == values
        assert (
            compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), Base.metadata) == []
        )


@pytest.mark.parametrize("revision", REVISIONS)
def test_new_rows_fit_beside_the_old_ones(old: Engine, revision: str) -> None:
    with old.begin() as connection:
        make(connection, revision)
    prepare(old)
    with Session(old) as session, session.begin():
        if revision < "0002":
            session.execute(Base.metadata.tables["lists"].insert(), ROWS["lists"])
        entry = {key: value for key, value in ROWS["list_entries"].items() if key != "id"}
        session.add(ListEntryRecord(**{**entry, "index": 5}))
    with Session(old) as session:
        session.add(ListEntryRecord(**{**entry, "index": 5}))
        with pytest.raises(IntegrityError):
            session.flush()


def test_a_run_from_before_responses_says_so(old: Engine) -> None:
    with old.begin() as connection:
        make(connection, "0004")
    prepare(old)
    with Session(old) as session:
        responses = session.scalars(select(PublishedRunRecord)).one().responses
    assert "before responses were measured" in responses["why_none"]
    assert responses["best"] == []


def test_ids_go_on_behind_those_of_the_migrations(old: Engine) -> None:
    """A database gives the ids, whichever it is."""
    prepare(old)
    values = {key: value for key, value in ROWS["feature_labels"].items() if key != "id"}
    with Session(old) as session, session.begin():
        session.add_all(FeatureLabelRecord(**{**values, "index": index}) for index in range(3))
    with Session(old) as session:
        assert len({record.id for record in session.scalars(select(FeatureLabelRecord))}) == 3


def test_all_of_it_can_be_taken_back(old: Engine) -> None:
    prepare(old)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with old.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(old).get_table_names() == ["alembic_version"]
