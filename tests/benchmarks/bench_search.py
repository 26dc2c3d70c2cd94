"""Time of a search while somebody types, on a run of a million features, one request at a time."""

import tempfile
import time
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.settings import Settings
from data.layout import StorePaths
from tests.benchmarks.table import Row
from tests.support.synthetic_run import SyntheticRun, publish_synthetic_run

NUM_FEATURES = 1_000_000
REQUESTS, WARM_UP = 300, 30
TARGETS = {
    "/api/v1/search?per_page=7&q={q}": (25.0, 100.0),
    "/search?q={q}": (40.0, 150.0),
    "/search?q={q}&in=label&min_density=0.0001": (40.0, 150.0),
}
"""Milliseconds: p50 and p99."""


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        store = StorePaths(Path(folder))
        queries = typed(publish_synthetic_run(store, NUM_FEATURES, examples_per_feature=4), REQUESTS)
        with TestClient(create_app(Settings(store=store.root, live=False))) as client:
            return [_row(client, path, queries, *target) for path, target in TARGETS.items()]


def typed(run: SyntheticRun, count: int) -> list[str]:
    """Text that somebody has typed at some moment: words of the run, one or two, the last of them begun."""
    rng = np.random.default_rng(0)
    queries = []
    for first, second, length in zip(
        *rng.integers(len(run.words), size=(2, count)), rng.integers(1, 8, count), strict=True
    ):
        begun = run.words[second][:length]
        queries.append(f"{run.words[first]} {begun}" if rng.random() < 0.3 else begun)
    return queries


def _row(client: TestClient, path: str, queries: list[str], p50: float, p99: float) -> Row:
    times = [_milliseconds(client, path.format(q=q)) for q in queries][WARM_UP:]
    median, slowest = np.percentile(times, [50, 99])
    return Row(
        f"search {path.partition('?')[0]} {path.partition('{q}')[2]}",
        f"p50 {median:.1f} ms, p99 {slowest:.1f} ms",
        f"p50 {p50:g} ms, p99 {p99:g} ms (target)",
        min(p50 / median, p99 / slowest),
        f"{NUM_FEATURES:,} features, words as they are typed; test client and gzip included",
    )


def _milliseconds(client: TestClient, path: str) -> float:
    start = time.perf_counter()
    assert client.get(path).status_code == 200
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    print(*run(), sep="\n")
