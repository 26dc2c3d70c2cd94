"""Two servers, each a process of its own, on one store and one PostgreSQL: each shows what the other was given."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from data.layout import StorePaths
from data.owner import owner_key
from data.sql.database import DATABASE_VARIABLE, connect
from data.sql.records import FeatureLabelRecord
from tests.support.databases import Start, copy_catalogue
from tests.support.processes import monosema_serving
from tests.support.steering import events_of
from tests.support.stores import owned_store

LISTS = "/api/v1/lists"
STEERED = {"features": [{"feature": "tiny/1-relu-64/3", "strength": 4}], "prompt": "the river", "max_new_tokens": 3}


@contextmanager
def serve(store: StorePaths, url: str, *, live: bool) -> Iterator[httpx.Client]:
    """A server in a process of its own."""
    environment = {DATABASE_VARIABLE: url, "MONOSEMA_LIVE": str(int(live))}
    with (
        monosema_serving(store, **environment) as address,
        httpx.Client(base_url=address, timeout=60, follow_redirects=True) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def url(published_store: StorePaths, postgres: Start) -> str:
    """Of the database that both have."""
    return copy_catalogue(published_store, postgres().create())


@pytest.fixture(scope="module")
def servers(
    published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory, url: str
) -> Iterator[list[httpx.Client]]:
    """One with the model, one without."""
    store = owned_store(published_store, tmp_path_factory.mktemp("two") / "store")
    key = owner_key(store)
    with ExitStack() as stack:
        clients = [stack.enter_context(serve(store, url, live=live)) for live in (True, False)]
        for client in clients:
            client.get("/owner", params={"key": key}).raise_for_status()
        yield clients


def test_both_show_the_same_catalogue(servers: list[httpx.Client]) -> None:
    one, other = (client.get("/api/v1/saes").json() for client in servers)
    assert one == other
    assert [sae["name"] for sae in one] == ["1-relu-64", "1-relu-256", "1-batchtopk-64"]


def test_edits_of_one_list_by_both_all_stay(servers: list[httpx.Client]) -> None:
    one, other = servers
    made = one.post(LISTS, json={"name": "Rivers"}).json()
    secret = {"authorization": f"Bearer {made['secret']}"}

    def add(index: int) -> int:
        entry = {"feature": f"tiny/1-relu-64/{index}"}
        return servers[index % 2].post(f"{LISTS}/{made['id']}/entries", json=entry, headers=secret).status_code

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(add, [*range(12), *range(12)])) == {201}
    shown = [client.get(f"{LISTS}/{made['id']}").json()["entries"] for client in servers]
    assert shown[0] == shown[1]
    assert sorted(entry["feature"] for entry in shown[0]) == sorted(f"tiny/1-relu-64/{i}" for i in range(12))
    assert other.delete(f"{LISTS}/{made['id']}", headers=secret).status_code == 204
    assert one.get(f"{LISTS}/{made['id']}").status_code == 404


def test_labels_of_both_are_seen_by_both(servers: list[httpx.Client], url: str) -> None:
    """Also when they are written at the same moment, which two servers must not number alike."""
    indices = [8, 9, 10, 11, 12, 13, 14, 15]

    def write(index: int) -> int:
        return servers[index % 2].post(f"/tiny/1-relu-64/{index}/label", data={"label": f"owl {index}"}).status_code

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(write, indices)) == {200}
    for client in servers:
        for index in indices:
            assert client.get(f"/tiny/1-relu-64/{index}.json").json()["owner_label"] == f"owl {index}"
    engine = connect(url)
    with Session(engine) as session:
        revisions = session.scalars(select(FeatureLabelRecord.revision)).all()
    engine.dispose()
    assert len(set(revisions)) == len(indices)


def test_one_feature_named_by_both_at_once_keeps_one_of_the_names(servers: list[httpx.Client]) -> None:
    names = [f"name {number}" for number in range(8)]

    def write(number: int) -> int:
        answer = servers[number % 2].post("/tiny/1-relu-64/20/label", data={"label": names[number]})
        return answer.status_code

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(write, range(8))) == {200}
    shown = {client.get("/tiny/1-relu-64/20.json").json()["owner_label"] for client in servers}
    assert len(shown) == 1
    assert shown < set(names)


def test_a_result_of_one_is_an_address_of_both(servers: list[httpx.Client]) -> None:
    one, other = servers
    with one.stream("POST", "/api/v1/steer", json=STEERED) as answer:
        written = list(events_of(answer))
    address = written[-1][2]["result"]
    assert one.get(f"{address}.json").json() == other.get(f"{address}.json").json()
    with other.stream("POST", "/api/v1/steer", json=STEERED) as answer:
        assert answer.status_code == 200
        assert list(events_of(answer))[-1][2]["stored"]


def test_a_text_that_both_are_given_at_once_is_kept_once(servers: list[httpx.Client]) -> None:
    text = "the river " * 300
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda i: servers[i % 2].post("/api/v1/prompts", json={"text": text}), range(12)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
