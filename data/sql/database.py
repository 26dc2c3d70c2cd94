"""The database: its address, its connection, its migrations."""

import os
import re
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from data.errors import ContractError, StorageError
from data.layout import StorePaths

DATABASE_VARIABLE = "MONOSEMA_DATABASE_URL"
MIGRATIONS = Path(__file__).parent / "migrations"
TURN = 0x6D6F6E6F73656D61
"""Number of the lock in PostgreSQL by which servers take turns: "monosema"."""


def database_url(store: StorePaths) -> str:
    """The URL named by MONOSEMA_DATABASE_URL, or SQLite inside the store."""
    return os.environ.get(DATABASE_VARIABLE) or f"sqlite:///{store.database}"


def connect(url: str) -> Engine:
    """An engine whose schema is up to date.

    Raises StorageError when the database cannot be opened, ContractError when a newer version of the code made it.
    """
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    engine = open_engine(url)
    prepare(engine)
    return engine


def open_engine(url: str) -> Engine:
    """An engine for a database as it is, not brought up to date. Raises StorageError when its address is wrong."""
    url = re.sub("^postgres(ql)?://", "postgresql+psycopg://", url)
    try:
        # A server may close connections that nobody uses; they are tried before they are used again.
        return create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
    except ImportError as error:
        raise StorageError(
            f"the driver of {DATABASE_VARIABLE} is not installed ({error}): for PostgreSQL, "
            "pip install 'monosema[postgres]'"
        ) from None
    except ArgumentError as error:
        raise StorageError(f"{DATABASE_VARIABLE} is not the address of a database ({error})") from None


def prepare(engine: Engine) -> None:
    """Apply the migrations that the database lacks."""
    try:
        if revision_of(engine) != newest_revision():
            _migrate(engine)
    except DatabaseError as error:
        raise explained(engine, error) from None


def explained(engine: Engine, error: DatabaseError) -> StorageError:
    """What is wrong with a database that cannot be read or written, and what to do."""
    if isinstance(error, OperationalError) and engine.dialect.name != "sqlite":
        reason = str(error.orig).splitlines()[0]
        return StorageError(
            f"the database {engine.url} cannot be reached ({reason}): start it, or correct {DATABASE_VARIABLE}"
        )
    return StorageError(
        f"the database {engine.url} cannot be used ({error.orig}): repair it, or delete it and publish again"
    )


def take_turn(connection: Connection) -> None:
    """Wait until no other transaction that took its turn is open: what is read after it stays true until the end.

    First of all that is done in a transaction, or first after reading. Of other databases than SQLite and PostgreSQL
    nothing is asked.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": TURN})
    elif connection.dialect.name == "sqlite" and not _is_open(connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _is_open(connection: Connection) -> bool:
    """Whether a connection to SQLite is within a transaction, which SQLAlchemy does not know."""
    driver = connection.connection.driver_connection
    return bool(driver is not None and driver.in_transaction)


def newest_revision() -> str:
    """Revision that the last migration leads to: files are named after theirs, in order."""
    return max(path.stem.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def revision_of(engine: Engine) -> str | None:
    """Revision of a database; None before its first migration."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _migrate(engine: Engine) -> None:
    # Imported when there is something to do: a server that starts has most often nothing.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with engine.begin() as connection:
            take_turn(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise ContractError(
            f"the database {engine.url} was made by another version of this code ({error}): update the code"
        ) from None
