"""How long the server takes for a page, one request at a time, against the time that a person does not notice."""

import tempfile
import time
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.settings import Settings
from data.layout import StorePaths
from tests.benchmarks.table import Row
from tests.fakes import publish_fake_run

TARGETS = {"/tiny/1-relu-256/{index}": (10.0, 40.0), "/tiny/1-relu-256?sort=density": (30.0, 100.0)}
"""Milliseconds: p50 and p99."""
REQUESTS, WARM_UP = 300, 30


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        store = StorePaths(Path(folder))
        publish_fake_run(store)
        with TestClient(create_app(Settings(store=store.root, live=False))) as client:
            return [_row(client, path, *target) for path, target in TARGETS.items()]


def _row(client: TestClient, path: str, p50: float, p99: float) -> Row:
    times = [_milliseconds(client, path.format(index=i % 256)) for i in range(REQUESTS)][WARM_UP:]
    median, slowest = np.percentile(times, [50, 99])
    return Row(
        f"page {path}",
        f"p50 {median:.1f} ms, p99 {slowest:.1f} ms",
        f"p50 {p50:g} ms, p99 {p99:g} ms (target)",
        min(p50 / median, p99 / slowest),
        "one request at a time, test client and gzip included",
    )


def _milliseconds(client: TestClient, path: str) -> float:
    start = time.perf_counter()
    assert client.get(path).status_code == 200
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    print(*run(), sep="\n")
