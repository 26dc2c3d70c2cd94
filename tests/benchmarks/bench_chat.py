"""The first answer of a steered chat from a server that has just started, and the next one: to the first word, whole.

The store is that of MONOSEMA_STORE, else the default one. The feature is the one that Home leads with, else the
strongest of the first SAE.
"""

import json
import time
from typing import Any, NamedTuple

import httpx

from backend.published.catalogue import Library, OpenRun
from data.layout import StorePaths
from data.sql.database import connect, database_url
from tests.benchmarks.server import demo_store, running_server
from tests.benchmarks.table import Row

MESSAGE, TOKENS, SEED = "Who are you?", 48, 20_261_130
STRENGTH = 2.0
"""Of a feature that no demonstration tells more of."""
TARGETS = {"cold": (5.0, 10.0), "warm": (1.0, 6.0)}
"""Seconds to the first word and to the end."""
LONGEST = 300


class Times(NamedTuple):
    """Seconds after the request."""

    first: float
    """To the first token that the steered text has of its own."""
    last: float


def run() -> list[Row]:
    store = demo_store()
    feature = _feature(store)
    with running_server(store) as address, httpx.Client(base_url=address, timeout=LONGEST) as client:
        return [_row(what, _answer(client, feature, SEED + n)) for n, what in enumerate(TARGETS)]


def _row(what: str, times: Times) -> Row:
    first, last = TARGETS[what]
    note = {"cold": "model and SAE are loaded first", "warm": "the next message"}[what]
    return Row(
        f"steered chat, {what}",
        f"{times.first:.2f} s to the first word, {times.last:.2f} s whole",
        f"{first:g} s, {last:g} s (target)",
        min(first / times.first, last / times.last),
        f"baseline and steered text, {TOKENS} tokens each at most; {note}",
    )


def _answer(client: httpx.Client, feature: dict[str, Any], seed: int) -> Times:
    body = {"features": [feature], "prompt": MESSAGE, "chat": True, "temperature": 0.7, "seed": seed}
    start, first = time.perf_counter(), 0.0
    with client.stream("POST", "/api/v1/steer", json={**body, "max_new_tokens": TOKENS}) as answer:
        assert answer.status_code == 200, answer.read()
        name = ""
        for line in answer.iter_lines():
            name = line.removeprefix("event: ") if line.startswith("event: ") else name
            if line.startswith("data: ") and name == "token" and not first:
                token = json.loads(line.removeprefix("data: "))
                if token["row"] == 1 and token["probability"] is not None:
                    first = time.perf_counter() - start
    assert name == "done", name
    return Times(first, time.perf_counter() - start)


def _feature(store: StorePaths) -> dict[str, Any]:
    """Its name and strength, as the API takes them."""
    engine = connect(database_url(store))
    run = Library(engine, store).catalogue().runs[0]
    engine.dispose()
    chats = (run.record.responses or {}).get("chats")
    sae, index, strength = (
        (chats[0]["sae"], chats[0]["index"], chats[0]["best_strength"]) if chats else (*_strongest(run), STRENGTH)
    )
    model = next(one.model for one in run.saes if one.name == sae)
    return {"feature": f"{model}/{sae}/{index}", "strength": strength}


def _strongest(run: OpenRun) -> tuple[str, int]:
    sae = run.saes[0].name
    where = f"sae = '{sae}' AND label != '' AND NOT negligible"
    found = run.tables.list_features(where, ["index"], sort="max", descending=True, limit=1)
    return sae, int(found["index"][0].as_py())


if __name__ == "__main__":
    print(*run(), sep="\n")
