"""Owners overrule verdicts, nobody else does, and what was measured stays beside them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.app import create_app
from backend.published import concepts
from backend.published.verdicts import MAX_VERDICT_NOTE
from backend.settings import Settings
from data.layout import StorePaths
from data.owner import owner_key
from data.sql.database import DATABASE_VARIABLE
from tests.support.databases import copy_catalogue
from tests.support.own_features import own_features
from tests.support.serving import serving
from tests.support.stores import owned_store

FORM = "/completeness/verdict"
CONCEPT = {"model": "tiny", "sae": "1-relu-64", "list": "things", "concept": "river"}
BACK = "/completeness?sae=1-relu-64&show=all"


@pytest.fixture
def store(published_store: StorePaths, tmp_path: Path, sql_url: str, monkeypatch: pytest.MonkeyPatch) -> StorePaths:
    """The fake run with a database, of each kind, and an owner of its own."""
    monkeypatch.setenv(DATABASE_VARIABLE, copy_catalogue(published_store, sql_url))
    return owned_store(published_store, tmp_path / "store")


@pytest.fixture
def visitor(store: StorePaths) -> Iterator[httpx.Client]:
    with (
        serving(create_app(Settings(store=store.root, live=False, max_verdicts=2))) as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        yield client


@pytest.fixture
def owner(visitor: httpx.Client, store: StorePaths) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=visitor.base_url, follow_redirects=True, timeout=60) as client:
        assert client.get("/owner", params={"key": owner_key(store)}).status_code == 200
        yield client


def concept(client: httpx.Client, name: str = "river", **parameters: str) -> dict[str, Any] | None:
    found = client.get("/api/v1/completeness/tiny/1-relu-64", params=parameters).json()["concepts"]
    return next((one for one in found if one["name"] == name), None)


def test_an_owner_overrules_and_both_verdicts_are_kept(visitor: httpx.Client, owner: httpx.Client) -> None:
    measured = concept(visitor)["represented"]
    theirs = "no" if measured else "yes"
    form = {**CONCEPT, "represented": theirs, "note": "seen <b>by</b> eye", "back": BACK}
    answer = owner.post(FORM, data=form)
    assert answer.url.path == "/completeness"
    assert answer.url.params["show"] == "all"
    assert "says an owner" in answer.text
    assert "seen &lt;b&gt;by&lt;/b&gt; eye" in answer.text
    assert "Owners of this server overruled 1 of these verdicts" in visitor.get(BACK).text
    found = concept(visitor)
    assert found["represented"] == found["candidate"]["specific"] == measured
    assert found["overruled"]["represented"] != measured
    assert (concept(visitor, show="represented") is None) == measured
    owner.post(FORM, data={**CONCEPT, "represented": "measured"})
    assert concept(visitor)["overruled"] is None


def test_a_verdict_can_be_changed_and_speaks_of_its_sae_alone(visitor: httpx.Client, owner: httpx.Client) -> None:
    for represented in ("yes", "no"):
        owner.post(FORM, data={**CONCEPT, "represented": represented, "note": represented})
    assert concept(visitor)["overruled"]["note"] == "no"
    other = visitor.get("/api/v1/completeness/tiny/1-relu-256").json()["concepts"]
    assert all(one["overruled"] is None for one in other)


def test_visitors_see_verdicts_but_cannot_write_them(visitor: httpx.Client, owner: httpx.Client) -> None:
    assert 'action="/completeness/verdict"' in owner.get(BACK).text
    assert 'action="/completeness/verdict"' not in visitor.get(BACK).text
    assert visitor.post(FORM, data={**CONCEPT, "represented": "yes"}).status_code == 403
    headers = {"sec-fetch-site": "cross-site"}
    assert owner.post(FORM, data={**CONCEPT, "represented": "yes"}, headers=headers).status_code == 403
    assert concept(visitor)["overruled"] is None


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"concept": "none"}, 404),
        ({"list": "none"}, 404),
        ({"sae": "none"}, 404),
        ({"represented": "perhaps"}, 422),
        ({"note": "n" * (MAX_VERDICT_NOTE + 1)}, 422),
        ({"note": "a\0"}, 422),
    ],
)
def test_a_verdict_on_nothing_is_refused(owner: httpx.Client, change: dict[str, str], status: int) -> None:
    assert owner.post(FORM, data={**CONCEPT, "represented": "yes", **change}).status_code == status


def test_no_more_verdicts_are_kept_than_the_limit(owner: httpx.Client) -> None:
    for name in ("river", "music"):
        assert owner.post(FORM, data={**CONCEPT, "concept": name, "represented": "yes"}).status_code == 200
    full = owner.post(FORM, data={**CONCEPT, "concept": "engine", "represented": "yes"})
    assert full.status_code == 503
    assert "MONOSEMA_MAX_VERDICTS" in full.text


def test_a_feature_does_not_claim_a_concept_of_which_an_owner_says_no(
    owner: httpx.Client, store: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concepts, "_read_own", lambda run: own_features(run, 3, {0: 20}))
    assert "Represents" in owner.get("/tiny/1-relu-64/3").text
    owner.post(FORM, data={**CONCEPT, "represented": "no"})
    assert "Represents" not in owner.get("/tiny/1-relu-64/3").text
    owner.post(FORM, data={**CONCEPT, "represented": "yes"})
    assert "Represents" in owner.get("/tiny/1-relu-64/3").text


def test_the_way_back_stays_on_this_server(owner: httpx.Client) -> None:
    form = {**CONCEPT, "represented": "yes", "back": "https://elsewhere.example/x?show=all"}
    assert owner.post(FORM, data=form, follow_redirects=False).headers["location"] == "/completeness?show=all#concepts"


def test_an_uploaded_list_can_be_overruled_too(visitor: httpx.Client, owner: httpx.Client) -> None:
    place = owner.post("/completeness/lists", data={"text": "river"}, follow_redirects=False).headers["location"]
    name = place.partition("?")[0].rpartition("/")[2]
    answer = owner.post(FORM, data={**CONCEPT, "list": name, "represented": "yes"}, follow_redirects=False)
    assert answer.headers["location"] == f"/completeness/lists/{name}"
    assert concept(visitor)["overruled"] is None
