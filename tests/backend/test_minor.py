"""One switch, `minor`, wherever features are listed: without it live ones alone, with it rare and negligible ones."""

import io
from collections.abc import Callable
from urllib.parse import urlencode

import numpy as np
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from httpx import Response

from backend.published.catalogue import Catalogue
from tests.support.fake_run import NEGLIGIBLE, RARE
from tests.support.map_answers import read_answer
from tests.support.pages import Page

SAE = "tiny/1-relu-64"
MINOR = {f"/{SAE}/{RARE}", f"/{SAE}/{NEGLIGIBLE}"}
EVERYWHERE = "-9,-9,9,-9,9,9,-9,9"


def asked_for(client: TestClient, address: str, **more: object) -> Response:
    return client.get(f"{address}{'&' if '?' in address else '?'}{urlencode(more)}")


def links(answer: Response) -> set[str]:
    """Features that a page links to, whatever else the links say, or would put into a list."""
    page = Page(answer.text)
    forms = (fields.get("value") or "" for tag, fields in page.elements if fields.get("name") == "features")
    put = {f"/{name}" for form in forms for name in form.split()}
    return put | {link.partition("?")[0].partition("#")[0] for link in page.links()}


def listed(answer: Response) -> set[str]:
    """Features that the API names, however deep."""
    found: set[str] = set()

    def visit(part: object) -> None:
        if isinstance(part, dict):
            if {"model", "sae", "index"} <= part.keys():
                found.add(f"/{part['model']}/{part['sae']}/{part['index']}")
            for inner in part.values():
                visit(inner)
        elif isinstance(part, list):
            for inner in part:
                visit(inner)

    visit(answer.json())
    return found


def mapped(answer: Response) -> set[str]:
    _, arrays = read_answer(answer.content)
    pairs = zip(arrays["sae"].tolist(), np.asarray(arrays["index"]).tolist(), strict=True)
    return {f"/tiny/{sae}/{index}" for sae, index in pairs}


@pytest.fixture(scope="module")
def near(client: TestClient) -> dict[str, str]:
    """For each minor feature, one that has it among its six nearest."""
    found = {}
    for minor in sorted(MINOR):
        for group in client.get(f"/api/v1/features{minor}/neighbours", params={"k": 10}).json():
            for one in group["nearest"]:
                name = f"{one['feature']['model']}/{one['feature']['sae']}/{one['feature']['index']}"
                answer = client.get(f"/api/v1/features/{name}/neighbours", params={"k": 6, "minor": True})
                if minor in listed(answer):
                    found.setdefault(minor, name)
    assert set(found) == MINOR
    return found


@pytest.mark.parametrize(
    ("address", "read"),
    [
        (f"/{SAE}?per_page=200", links),
        (f"/api/v1/features/{SAE}?per_page=200", listed),
        ("/api/v1/map", mapped),
        (f"/explore?sel={EVERYWHERE}", links),
        ("/compare?sae=1-relu-64&other=1-relu-256&t=1&order=density&page=2", links),
        ("/api/v1/compare/new?sae=1-relu-64&other=1-relu-256&t=1&per_page=200", listed),
    ],
)
def test_minor_features_are_shown_with_the_switch_alone(
    client: TestClient, address: str, read: Callable[[Response], set[str]]
) -> None:
    usual, every = client.get(address), asked_for(client, address, minor="true")
    assert (usual.status_code, every.status_code) == (200, 200)
    assert not MINOR & read(usual)
    assert read(every) >= MINOR


@pytest.mark.parametrize(
    ("address", "read"),
    [
        ("/{name}", links),
        ("/explore?f={name}", links),
        ("/compare?f={name}&t=0", links),
        ("/api/v1/features/{name}/neighbours?k=6", listed),
        ("/api/v1/compare?f={name}&t=0", listed),
    ],
)
def test_minor_neighbours_are_shown_with_the_switch_alone(
    client: TestClient, near: dict[str, str], address: str, read: Callable[[Response], set[str]]
) -> None:
    for minor, name in near.items():
        asked = address.format(name=name)
        usual, every = client.get(asked), asked_for(client, asked, minor="true")
        assert minor not in read(usual)
        assert minor in read(every)


@pytest.mark.parametrize("address", ["/", "/search?q=the", "/explore", "/explore?q=the", f"/{SAE}", f"/{SAE}/3"])
def test_no_page_leads_to_minor_features_by_itself(client: TestClient, address: str) -> None:
    stepped = {f"/{SAE}/{index}" for index in (2, 4)}  # previous and next
    assert not (MINOR & links(client.get(address))) - stepped


@pytest.mark.parametrize("address", [f"/{SAE}/3", f"/explore?f={SAE}/3", f"/compare?f={SAE}/3", "/compare"])
def test_pages_offer_the_switch_both_ways(client: TestClient, address: str) -> None:
    def switches(asked: str) -> set[bool]:
        path = address.partition("?")[0]
        own = [link for link in Page(client.get(asked).text).links() if link.partition("?")[0] in (path, "")]
        return {"minor=" in link for link in own if link.startswith((path, "?"))}

    assert True in switches(address)
    assert False in switches(str(asked_for(client, address, minor=1).url))


def test_random_features_may_be_minor_when_asked(client: TestClient) -> None:
    def draw(extra: str = "") -> str:
        return client.get(f"/random?sae=1-relu-64{extra}", follow_redirects=False).headers["location"]

    assert not MINOR & {draw() for _ in range(200)}
    assert any(draw("&minor=true") in MINOR for _ in range(400))


def test_downloads_say_of_every_feature_what_it_is(client: TestClient, catalogue: Catalogue) -> None:
    table = pq.read_table(io.BytesIO(client.get(f"/api/v1/saes/{SAE}/features.parquet").content))
    assert np.flatnonzero(table["rare"].to_numpy()).tolist() == [RARE]
    assert np.flatnonzero(table["negligible"].to_numpy()).tolist() == [NEGLIGIBLE]
    assert table.num_rows == catalogue.saes["tiny", "1-relu-64"].num_features


def test_a_minor_feature_says_what_it_is(client: TestClient) -> None:
    rare, negligible = (Page(client.get(f"/{SAE}/{index}").text) for index in (RARE, NEGLIGIBLE))
    tokens = client.get(f"/api/v1/features/{SAE}/{RARE}").json()["num_active"]
    assert f"Rare: active on {tokens} tokens." in rare.text
    assert "active on fewer than 10 tokens" in rare.text
    assert "Negligible: " in negligible.text
    assert f"/explore?f={SAE}/{RARE}&minor=True" in rare.links()
    focused = Page(client.get(f"/explore?f={SAE}/{RARE}").text)
    assert "It is rare, so it is on the map only when such features are shown" in focused.text
