"""Time of the server for pages, over HTTP on loopback, and size of what a browser loads first.

One request at a time over one connection, random features, gzip as browsers ask for it. The store is that of
MONOSEMA_STORE where it is set (the demo, say), else a synthetic run of NUM_FEATURES features.
"""

import gzip
import http.client
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import numpy as np

from backend.published.catalogue import Library, OpenSAE
from data.layout import STORE_VARIABLE, StorePaths
from data.sql.database import connect, database_url
from pipeline.commands.serving import take_port
from tests.benchmarks.table import Row
from tests.support.synthetic_run import publish_synthetic_run

NUM_FEATURES = 1_000_000
TARGETS = {False: (10.0, 40.0), True: (15.0, 60.0)}
"""Milliseconds p50 and p99 of a feature's page, by whether the run is the synthetic one."""
FIRST_LOAD = 150_000
"""Bytes of a feature's page with its styles and scripts, compressed."""
REQUESTS, WARM_UP = 400, 50
HEADERS = {"accept-encoding": "gzip, deflate, br", "accept": "text/html"}
START_SECONDS = 60


def run() -> list[Row]:
    given = os.environ.get(STORE_VARIABLE)
    if given:
        return _rows(StorePaths(Path(given)), synthetic=False)
    with tempfile.TemporaryDirectory() as folder:
        store = StorePaths(Path(folder))
        publish_synthetic_run(store, NUM_FEATURES)
        return _rows(store, synthetic=True)


def _rows(store: StorePaths, *, synthetic: bool) -> list[Row]:
    engine = connect(database_url(store))
    saes = list(Library(engine, store).catalogue().saes.values())
    engine.dispose()
    what = f"{sum(sae.num_features for sae in saes):,} features{', synthetic' if synthetic else ''}"
    with _server(store) as connection:
        times, peaks = _times(connection, saes)
        loaded, files = _first_load(connection, saes[0])
    p50, p99 = TARGETS[synthetic]
    median, slowest = np.percentile(times, [50, 99])
    return [
        Row(
            f"feature page, {what}",
            f"p50 {median:.1f} ms, p99 {slowest:.1f} ms",
            f"p50 {p50:g} ms, p99 {p99:g} ms (target)",
            min(p50 / median, p99 / slowest),
            f"{len(times)} random features, one at a time over loopback; {peaks:,} bytes in the middle",
        ),
        Row(
            "first load of a feature page",
            f"{loaded:,} bytes",
            f"{FIRST_LOAD:,} bytes (target)",
            FIRST_LOAD / loaded,
            f"the page and {files} files, compressed",
        ),
    ]


@contextmanager
def _server(store: StorePaths) -> Iterator[http.client.HTTPConnection]:
    """A connection to a server of its own process."""
    with take_port("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "pipeline.cli", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, STORE_VARIABLE: str(store.root), "MONOSEMA_LIVE": "0"})
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        _wait(connection, process)
        yield connection
    finally:
        connection.close()
        process.terminate()
        process.wait()


def _wait(connection: http.client.HTTPConnection, process: "subprocess.Popen[bytes]") -> None:
    """Until the server answers."""
    start = time.monotonic()
    while time.monotonic() - start < START_SECONDS and process.poll() is None:
        try:
            _get(connection, "/healthz")
        except OSError:
            connection.close()
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the server did not start")


def _get(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path, headers=HEADERS)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, (path, answer.status)
    return body


def _times(connection: http.client.HTTPConnection, saes: list[OpenSAE]) -> tuple[list[float], int]:
    """Milliseconds of each page after the warm-up, and the median of their sizes in bytes."""
    rng, times, sizes = random.Random(0), [], []
    for _ in range(WARM_UP + REQUESTS):
        sae = rng.choice(saes)
        path = f"{sae.href}/{rng.randrange(sae.num_features)}"
        start = time.perf_counter()
        sizes.append(len(_get(connection, path)))
        times.append(1000 * (time.perf_counter() - start))
    return times[WARM_UP:], int(np.median(sizes))


def _first_load(connection: http.client.HTTPConnection, sae: OpenSAE) -> tuple[int, int]:
    """Bytes of a page with every static file it leads to, and their number."""

    path = f"{sae.href}/3"
    page = _get(connection, path)
    found = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', gzip.decompress(page).decode()))
    bodies = {address: _get(connection, address) for address in found}
    modules = [address for address in found if address.endswith(".js")]
    for address in modules:
        source = gzip.decompress(bodies[address]).decode()
        for name in re.findall(r'^import (?:.* from )?"([^"]+)"', source, re.MULTILINE):
            imported = urljoin(address, name)
            if imported not in bodies:
                bodies[imported] = _get(connection, imported)
                modules.append(imported)
    return len(page) + sum(map(len, bodies.values())), len(bodies)


if __name__ == "__main__":
    print(*run(), sep="\n")
