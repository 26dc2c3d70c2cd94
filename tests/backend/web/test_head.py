"""HEAD on every address that GET has."""

import re

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from backend.app import ROUTERS
from tests.support.lists import API

NAMES = {"model": "tiny", "sae": "1-relu-64", "index": "3", "kind": "top", "rank": "0", "ending": "csv", "rest": "x"}
CHANGES = {"date", "set-cookie", "location"}
"""Headers that two answers to one request may have each in its own way."""
PATHS = [
    route.path
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute) and "GET" in route.methods
]


def address_of(client: TestClient, path: str) -> str:
    """An address of a route, which leads to something wherever that needs no model."""
    if path.startswith("/static"):
        return client.app.state.assets.url("base/monosema.css")
    if path == "/api/v1/prompts/{name}":
        return client.post("/api/v1/prompts", json={"text": "the river"}).json()["id"].join(("/api/v1/prompts/", ""))
    made = client.post(API, json={"name": "a list"}).json()
    names = {**NAMES, "list_id": made["id"]}
    filled = re.sub(r"{(\w+)(?::\w+)?}", lambda part: names.get(part[1], "none"), path)
    return made["edit"] if path == "/lists/{list_id}/edit" else filled + ("?q=river" if "search" in path else "")


@pytest.mark.parametrize("path", PATHS)
def test_head_is_answered_as_get_is_but_for_the_body(client: TestClient, path: str) -> None:
    address = address_of(client, path)
    asked = {"follow_redirects": False, "headers": {"accept-encoding": "gzip"}}
    with client.stream("GET", address, **asked) as answer:
        found = dict(answer.headers)
    head = client.head(address, **asked)
    assert head.status_code == answer.status_code
    assert head.content == b""
    assert {name: head.headers.get(name) for name in found.keys() - CHANGES} == {
        name: text for name, text in found.items() if name not in CHANGES
    }


def test_most_addresses_of_that_test_lead_to_something(client: TestClient) -> None:
    answers = [client.head(address_of(client, path), follow_redirects=False).status_code for path in PATHS]
    assert answers.count(200) > 2 / 3 * len(PATHS)
    assert set(answers) <= {200, 303, 307, 403, 404, 422, 503}


def test_head_of_what_can_only_be_sent_is_refused_as_get_is(client: TestClient) -> None:
    assert client.get("/api/v1/activations").status_code == 404
    assert client.head("/api/v1/activations").status_code == 404
    assert client.head("/none").status_code == 404
