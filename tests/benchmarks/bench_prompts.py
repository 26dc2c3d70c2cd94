"""From a prompt to its active features, over the whole path of the API: tokens, residual stream, SAE, ranking, labels.

On the published sample run, one request at a time, each with another prompt.
"""

import random
import time

import numpy as np
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.settings import Settings
from data.layout import default_store
from tests.benchmarks.table import Row

FEATURES, TOKENS, TARGET = 4096, 64, 80.0
"""Of the SAE; of a prompt; milliseconds, p50."""
REQUESTS, WARM_UP = 60, 10
WORDS = (
    "the of and in a to was on for as with by at from his her its first second after before between under over city",
    "river school church music war king film book game team road house family group state north south east west people",
    "water years during world national local great new old small large early later American British French",
)


def run() -> list[Row]:
    with TestClient(create_app(Settings(store=default_store().root))) as client:
        names = [
            sae.href[1:]
            for run in client.app.state.library.catalogue().runs  # type: ignore[attr-defined]
            for sae in run.saes
            if sae.num_features == FEATURES
        ]
        if not names:
            raise SystemExit("the sample run is not published: run `monosema run --recipe sample` first")
        times, lengths = zip(*(_read(client, names[0], seed) for seed in range(REQUESTS)), strict=True)
    median, slowest = np.percentile(times[WARM_UP:], [50, 99])
    return [
        Row(
            "prompt to features",
            f"p50 {median:.0f} ms, p99 {slowest:.0f} ms",
            f"p50 {TARGET:g} ms (target)",
            TARGET / median,
            f"POST /api/v1/activations, {int(np.median(lengths))} tokens, {names[0]}; test client included",
        )
    ]


def _read(client: TestClient, sae: str, seed: int) -> tuple[float, int]:
    """Milliseconds and tokens of a prompt that was not read before."""
    text = " ".join(random.Random(seed).choices(" ".join(WORDS).split(), k=TOKENS - 1))
    start = time.perf_counter()
    answer = client.post("/api/v1/activations", json={"text": text, "saes": [sae]})
    milliseconds = 1000 * (time.perf_counter() - start)
    assert answer.status_code == 200, answer.text
    return milliseconds, len(answer.json()["tokens"])


if __name__ == "__main__":
    print(*run(), sep="\n")
