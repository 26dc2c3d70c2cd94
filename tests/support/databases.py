"""Databases of every kind that is supported: fresh ones, and the catalogue of a published store in one."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from sqlalchemy import Engine, create_engine, insert, select, text
from sqlalchemy.orm import Session

from data.layout import StorePaths
from data.sql.database import connect
from data.sql.records import Base
from tests.support.postgres import PostgreSQL

Kind = Literal["sqlite", "postgresql"]
KINDS: tuple[Kind, ...] = ("sqlite", "postgresql")
Start = Callable[[], PostgreSQL]
"""Starts the server at its first use, so that tests of SQLite alone do not wait for it."""


def new_database(kind: Kind, folder: Path, start: Start) -> str:
    """The URL of a new and empty database."""
    return f"sqlite:///{folder / 'made.sqlite'}" if kind == "sqlite" else start().create()


def copy_catalogue(store: StorePaths, url: str) -> str:
    """Put what a store's own database says of its runs into another one; returns that one's URL."""
    source, target = create_engine(f"sqlite:///{store.database}"), connect(url)
    with source.connect() as here, target.begin() as there:
        for table in Base.metadata.sorted_tables:
            if table.name in ("runs", "saes"):
                there.execute(insert(table), [dict(row._mapping) for row in here.execute(select(table))])
                _count_on(target, there.execute, table.name)
    source.dispose()
    target.dispose()
    return url


def _count_on(engine: Engine, execute: Callable[..., object], table: str) -> None:
    """Let the ids of a table go on behind those that were given."""
    if engine.dialect.name == "postgresql":
        execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))"))


def count(session: Session, table: type[Base]) -> int:
    """The rows of a table."""
    return len(session.execute(select(table)).all())
