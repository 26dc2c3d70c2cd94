"""Start the server: take the port first, see that there is something to show, then run the app of `backend`."""

import errno
import os
import socket
from urllib.parse import quote

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from data import CONTRACT_VERSION
from data.errors import ContractError, ServeError
from data.layout import STORE_VARIABLE, StorePaths
from data.owner import owner_key
from data.sql.database import connect, database_url
from data.sql.records import PublishedRunRecord
from pipeline.memory import collect_as_usual
from pipeline.progress import log

APP = "backend.app:create_app"
"""Named, not imported: the pipeline knows nothing of the backend."""
ROOT_VARIABLE = "MONOSEMA_ROOT_PATH"
"""The server's own setting, for what is said when it starts."""


def take_port(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ServeError when the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sends answers at once (TCP_NODELAY) only where it is.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ServeError(
                f"port {port} of {host} is in use: stop what runs there, or choose another one, e.g. --port {port + 1} "
                f"(make demo PORT={port + 1})"
            ) from None
        raise ServeError(
            f"port {port} of {host} cannot be used ({error.strerror}): choose others with --host and --port"
        ) from None
    return listener


def require_published(store: StorePaths) -> None:
    """Raise ServeError when nothing is published, ContractError when nothing of this contract version is."""
    engine = connect(database_url(store))
    try:
        with Session(engine) as session:
            rows = session.execute(select(PublishedRunRecord.name, PublishedRunRecord.contract)).all()
    finally:
        engine.dispose()
    if not rows:
        raise ServeError(
            f"nothing is published in {store.root}: run `make demo`, or `monosema run --recipe ...`, first"
        )
    if all(contract != CONTRACT_VERSION for _, contract in rows):
        name, found = rows[0]
        raise ContractError(
            f"run '{name}' was published under contract version {found}, this code reads version {CONTRACT_VERSION}: "
            "run its recipe again"
        )


def serve_store(store: StorePaths, listener: socket.socket) -> None:
    """Serve until Ctrl-C. Raises ServeError when the app cannot start."""
    import uvicorn

    collect_as_usual()
    os.environ[STORE_VARIABLE] = str(store.root)
    host, port = listener.getsockname()[:2]
    server = uvicorn.Server(uvicorn.Config(APP, factory=True, log_level="warning", proxy_headers=False))
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    log(f"serving {address} (Ctrl-C stops)")
    if root := os.environ.get(ROOT_VARIABLE):
        log(f"browsers have it below {root} of a proxy: put that proxy's address and path before what follows")
    log(f"to correct labels, open the owner link: {address}/owner?key={quote(owner_key(store))}")
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        return
    except ValidationError as error:
        raise ServeError(f"a setting cannot be used: {_settings_text(error)}") from None
    if not server.started:
        raise ServeError("the server did not start: see the error above")


def _settings_text(error: ValidationError) -> str:
    """What is wrong with the settings, by the variables that set them."""
    found = error.errors(include_url=False, include_input=False)
    return "; ".join(
        f"MONOSEMA_{'_'.join(map(str, one['loc'])).upper()}: {one['msg'].removeprefix('Value error, ')}"
        for one in found
    )
