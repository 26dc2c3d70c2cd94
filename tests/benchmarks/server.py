"""A server of its own process on a store that others may use: it writes into a copy of the store's database."""

import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.layout import STORE_VARIABLE, StorePaths, default_store
from pipeline.commands.serving import take_port

START_SECONDS = 60


@contextmanager
def running_server(store: StorePaths) -> Iterator[str]:
    """Its address, once it is ready; no model is in its memory yet."""
    with take_port("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.sqlite"
        shutil.copyfile(store.database, copy)
        variables = {STORE_VARIABLE: str(store.root), "MONOSEMA_DATABASE_URL": f"sqlite:///{copy}"}
        command = [sys.executable, "-m", "pipeline.cli", "serve", "--port", str(port)]
        process = subprocess.Popen(command, env={**os.environ, **variables}, stdout=subprocess.DEVNULL)
        try:
            wait_until_ready(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def demo_store() -> StorePaths:
    """The store of MONOSEMA_STORE, else the default one. Ends the program when nothing was published there."""
    store = default_store()
    if not store.database.is_file():
        raise SystemExit(f"nothing is published in {store.root}: run `make demo` first, or set {STORE_VARIABLE}")
    return store


def wait_until_ready(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Until a server says that it is ready; ends the program where it does not."""
    start = time.monotonic()
    while time.monotonic() - start < START_SECONDS and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.01)
        finally:
            connection.close()
    raise SystemExit("the server did not start")
