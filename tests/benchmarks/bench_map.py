"""Cost of a view of the map of a million features, from the whole map to a speck of it."""

import tempfile
import time
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.settings import Settings
from data.layout import StorePaths
from data.published.maps import World
from tests.benchmarks.table import Row
from tests.support.map_answers import read_answer
from tests.support.synthetic_run import publish_synthetic_run

NUM_FEATURES = 1_000_000
SHARES = (1.0, 0.5, 0.2, 0.1, 0.02)
"""Side of the view, of that of the whole map."""
REQUESTS, WARM_UP = 40, 5
TARGET_MS, TARGET_BYTES = 100.0, 1_000_000


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        store = StorePaths(Path(folder))
        publish_synthetic_run(store, NUM_FEATURES, examples_per_feature=1)
        with TestClient(create_app(Settings(store=store.root, live=False))) as client:
            world = client.app.state.library.catalogue().runs[0].map.world  # type: ignore[attr-defined]
            return [_row(client, world, share) for share in SHARES]


def _row(client: TestClient, world: World, share: float) -> Row:
    rng, times, sizes, kinds = np.random.default_rng(0), [], [], set()
    side = share * world.size
    for _ in range(REQUESTS):
        x, y = (world.x0, world.y0) + rng.random(2) * (world.size - side)
        view = {"x0": x, "x1": x + side, "y0": y, "y1": y + side, "colour": "density"}
        start = time.perf_counter()
        answer = client.get("/api/v1/map", params=view)
        times.append(1000 * (time.perf_counter() - start))
        sizes.append(len(answer.content))
        kinds.add(read_answer(answer.content)[0]["kind"])
    median, slowest = np.percentile(times[WARM_UP:], [50, 99])
    return Row(
        f"map of 1M, a view of {share:g} of its side",
        f"p50 {median:.1f} ms, p99 {slowest:.1f} ms, at most {max(sizes) / 1e3:.0f} kB",
        f"{TARGET_MS:g} ms, {TARGET_BYTES / 1e3:g} kB (target)",
        min(TARGET_MS / slowest, TARGET_BYTES / max(sizes)),
        f"{' and '.join(sorted(kinds))}; test client, sent and gunzipped; kB before gzip",
    )


if __name__ == "__main__":
    print(*run(), sep="\n")
