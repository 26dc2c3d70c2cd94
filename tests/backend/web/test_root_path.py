"""The server below a path of a proxy: every address that it gives lies there, whatever the proxy passes on."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from backend.app import create_app
from backend.html.assets import STATIC
from backend.html.templates import below
from backend.settings import Settings
from data.layout import StorePaths
from tests.backend.test_contexts import FEATURE, PAGES, Address, a_list, a_result
from tests.support.pages import Page
from tests.support.steering import copied_database, events_of

ROOT = "/user/ann@example.org/proxy/8000"
NOT_ADDRESSES = {"aria-keyshortcuts", "value", "title"}
"""Attributes in which a slash may come first."""


class Stripping:
    """An app behind a proxy that takes the root away from what it passes on."""

    def __init__(self, app: FastAPI) -> None:
        self.app, self.state = app, app.state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = {"path": scope["path"].removeprefix(ROOT) or "/"} if scope["type"] == "http" else {}
        await self.app({**scope, **path}, receive, send)


@pytest.fixture(scope="module", params=["passed on", "stripped"])
def client(
    request: pytest.FixtureRequest, published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    url = copied_database(published_store, tmp_path_factory.mktemp("root"))
    app = create_app(Settings(store=published_store.root, database_url=url, root_path=ROOT))
    with TestClient(app if request.param == "passed on" else Stripping(app)) as client:
        yield client


def check_below(address: str) -> None:
    assert address == ROOT or address.startswith((f"{ROOT}/", f"{ROOT}?")), address


def strings(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        yield from (found for value in content.values() for found in strings(value))
    elif isinstance(content, list):
        yield from (found for value in content for found in strings(value))


@pytest.mark.parametrize(
    "address",
    [one for _, _, one in PAGES],
    ids=[f"{kind.__name__}-{number}" for number, (kind, _, _) in enumerate(PAGES)],
)
def test_every_address_of_every_page_lies_below_the_root(client: TestClient, address: Address) -> None:
    path = address if isinstance(address, str) else address(client).removeprefix(ROOT)
    answer = client.get(ROOT + path)
    assert answer.status_code == (404 if path == "/none" else 200), answer.text
    page = Page(answer.text)
    found = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if value and value.startswith("/") and name not in NOT_ADDRESSES
    ]
    assert found
    for one in found:
        check_below(one)
    for content in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', answer.text, re.DOTALL):
        for one in strings(json.loads(content)):
            if one.startswith("/"):
                check_below(one)
    sheets = [a["href"] for tag, a in page.elements if tag == "link" and a.get("rel") == "stylesheet"]
    assert all(client.get(sheet).status_code == 200 for sheet in sheets)


def test_the_page_that_one_is_on_is_marked(client: TestClient) -> None:
    for path in ("/lists", f"{ROOT}/lists"):
        assert re.search(rf'href="{ROOT}/lists" aria-current="page"', client.get(path).text)
    assert client.get(ROOT).status_code == 200


@pytest.mark.parametrize("prefix", ["", ROOT])
def test_redirects_lead_below_the_root(client: TestClient, prefix: str) -> None:
    for path in ("/random", "/favicon.ico", "/tiny", f"/search?q={FEATURE}"):
        check_below(client.get(prefix + path, follow_redirects=False).headers["location"])
    check_below(a_result(client))
    slash = client.get(f"{prefix}/lists/", follow_redirects=False).headers["location"]
    check_below(urlsplit(slash).path)
    assert client.get(slash).status_code == 200


def test_cookies_are_of_the_root(client: TestClient) -> None:
    answer = client.get("/owner", params={"key": client.app.state.owner_key}, follow_redirects=False)
    assert f"Path={ROOT};" in answer.headers["set-cookie"]
    left = client.post(f"{ROOT}/owner/leave", follow_redirects=False)
    assert f"Path={ROOT};" in left.headers["set-cookie"]
    assert "owner" not in client.cookies


def test_the_api_names_addresses_below_the_root(client: TestClient) -> None:
    made = a_list(client)
    saved = client.get(f"/api/v1/lists/{made['id']}").json()
    prompt = client.post(f"{ROOT}/api/v1/prompts", json={"text": "the river"}).json()
    saes = client.get("/api/v1/saes").json()
    body = {"features": [{"feature": FEATURE, "strength": 4}], "prompt": "a river", "max_new_tokens": 2}
    with client.stream("POST", "/api/v1/steer", json=body) as stream:
        events = {name: data for _, name, data in events_of(stream.iter_lines())}
    run = client.get(events["run"]["events"].removesuffix("/events")).json()
    for one in (made["href"], made["edit"], saved["href"], prompt["href"], saes[0]["href"], events["run"]["events"],
                events["run"]["result"], events["done"]["result"], run["events"], run["result"]):  # fmt: skip
        check_below(one)
        assert client.get(one).status_code == 200
    with client.stream("POST", "/api/v1/steer", json=body) as stream:
        (*_, (_, _, stored)) = events_of(stream.iter_lines())
    check_below(stored["result"])


def test_the_address_of_a_list_is_shown_whole(client: TestClient) -> None:
    made = a_list(client)
    assert f">{made['href']}</a>" in client.get(made["edit"]).text


def test_openapi_names_the_root_as_its_server(client: TestClient) -> None:
    assert client.get("/api/v1/openapi.json").json()["servers"] == [{"url": ROOT}]


def test_the_frame_of_a_feature_has_the_whole_address(client: TestClient) -> None:
    assert f"http://testserver{ROOT}/{FEATURE}?embed=1" in client.get(f"/{FEATURE}").text


def test_programs_get_problems_below_the_root_too(client: TestClient) -> None:
    answer = client.get(f"{ROOT}/api/v1/none")
    assert answer.headers["content-type"] == "application/problem+json"
    assert client.get("/healthz").json() == client.get(f"{ROOT}/healthz").json() == {"status": "ok"}


def test_scripts_and_styles_name_no_address_but_below_the_root() -> None:
    """A string that begins with a slash is put below the root, or is the end of an address."""
    ends = {"/entries"}
    for path in STATIC.rglob("*.js"):
        for found in re.finditer(r"(?<!rooted\()[\"'`](/[A-Za-z$][\w/]*)", path.read_text()):
            assert found[1] in ends or found[1].startswith("/entries/"), (path.name, found[1])
    assert not any(re.search(r"url\([\"']?/", path.read_text()) for path in STATIC.rglob("*.css"))


def test_text_that_looks_like_an_address_stays() -> None:
    html = '<a href="/x" title="/x">/x href=&#34;/x</a><a href="//elsewhere">'
    assert below("/proxy", html) == '<a href="/proxy/x" title="/x">/x href=&#34;/x</a><a href="//elsewhere">'


@pytest.mark.parametrize("path", ["proxy", "/a b", "//x", "/x?y", "http://here/x", "/../x", '/"', "/é"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="is no path as the address bar shows it"):
        Settings(root_path=path)


def test_a_path_is_taken_as_the_address_bar_shows_it(published_store: StorePaths) -> None:
    assert Settings(root_path="/").root_path == ""
    settings = Settings(store=published_store.root, live=False, root_path="/user/j%C3%BCrgen/")
    with TestClient(create_app(settings)) as client:
        assert 'href="/user/j%C3%BCrgen/lists"' in client.get("/user/j%C3%BCrgen/").text
