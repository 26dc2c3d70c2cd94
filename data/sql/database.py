"""The database: its address, its connection, its migrations."""

import os
from pathlib import Path

from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.exc import ArgumentError, DatabaseError

from data.errors import ContractError, StorageError
from data.layout import StorePaths

DATABASE_VARIABLE = "MONOSEMA_DATABASE_URL"
MIGRATIONS = Path(__file__).parent / "migrations"


def database_url(store: StorePaths) -> str:
    """The URL named by MONOSEMA_DATABASE_URL, or SQLite inside the store."""
    return os.environ.get(DATABASE_VARIABLE) or f"sqlite:///{store.database}"


def connect(url: str) -> Engine:
    """An engine whose schema is up to date.

    Raises StorageError when the database cannot be opened, ContractError when a newer version of the code made it.
    """
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    try:
        engine = create_engine(url)
    except (ArgumentError, ImportError) as error:
        raise StorageError(f"{DATABASE_VARIABLE} is not the address of a database ({error})") from None
    prepare(engine)
    return engine


def prepare(engine: Engine) -> None:
    """Apply the migrations that the database lacks."""
    try:
        if revision_of(engine) != newest_revision():
            _migrate(engine)
    except DatabaseError as error:
        raise StorageError(
            f"the database {engine.url} cannot be used ({error.orig}): repair it, or delete it and publish again"
        ) from None


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
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise ContractError(
            f"the database {engine.url} was made by another version of this code ({error}): update the code"
        ) from None
