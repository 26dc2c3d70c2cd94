"""A PostgreSQL server in a temporary folder, for as long as the tests need it, and fresh databases on it."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, text

SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "60",
}
"""It is asked by its socket only, and need not outlive a crash."""
USER = "monosema"


def find_program(name: str) -> str:
    """The path of one of PostgreSQL's programs, of its newest version. Fails with what to install."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    found = shutil.which(name) or next((str(path) for path in reversed(debian)), None)
    assert found, "the tests of databases need PostgreSQL: run `make test`, which installs it"
    return found


class PostgreSQL:
    """The server."""

    def __init__(self, folder: Path) -> None:
        """folder: of its socket."""
        self._folder, self._numbers = folder, itertools.count()
        self._engine: Engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://{USER}@/{database}?host={self._folder}"

    def create(self) -> str:
        """The URL of a new and empty database."""
        name = f"test_{next(self._numbers)}"
        with self._engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        return self.url(name)

    def close(self) -> None:
        self._engine.dispose()


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """A server that runs until the block ends; not as root, which it refuses, but then as Debian's user postgres."""
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        folder, options = Path(name), _as_somebody()
        if "user" in options:
            os.chown(folder, options["user"], -1)
        data = folder / "data"
        initdb = [find_program("initdb"), "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run([*initdb, "--locale=C.UTF-8"], check=True, capture_output=True, cwd=folder, **options)
        settings = [part for key, value in SETTINGS.items() for part in ("-c", f"{key}={value}")]
        control = [find_program("pg_ctl"), "-D", data, "-s", "-w", "-t", "60"]
        started = [*control, "-l", folder / "log", "-o", " ".join([*settings, "-k", name]), "start"]
        subprocess.run(started, check=True, cwd=folder, **options)
        server = PostgreSQL(folder)
        try:
            yield server
        finally:
            server.close()
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, cwd=folder, **options)


def _as_somebody() -> dict[str, Any]:
    if os.getuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
